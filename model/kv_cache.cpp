#include "model/kv_cache.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

using kernels::kHeadSize;
using kernels::kPanelCols;

/// Where row `row` of a set of key panels keeps its first channel; the next one is kPanelCols
/// further.
constexpr std::size_t panel_offset(std::size_t row) {
  return row / kPanelCols * kPanelCols * kHeadSize + row % kPanelCols;
}

constexpr std::size_t kMeanPanel = kHeadSize * kPanelCols;

}  // namespace

KvCache::KvCache(std::size_t n_head, std::size_t chunk_size)
    : n_head_(n_head), chunk_size_(chunk_size), open_sums_(n_head * kHeadSize) {
  LR_CHECK(n_head >= 1 && chunk_size >= 1);
}

std::size_t KvCache::head_keys() const {
  return kernels::panel_count(chunk_size_) * kPanelCols * kHeadSize;
}

void KvCache::reserve(std::size_t n_rows) {
  while (chunks_.size() * chunk_size_ < n_rows) chunks_.emplace_back(n_head_ * head_numbers());
  while (means_.size() * kPanelCols * chunk_size_ < n_rows)
    means_.emplace_back(n_head_ * kMeanPanel);
}

void KvCache::put(std::size_t head, std::size_t row, const float* k, const float* v) {
  const auto [chunk, chunk_row] = locate(row);
  float* keys = chunks_[chunk].data() + head * head_numbers();
  float* sums = open_sums_.data() + head * kHeadSize;
  float* key = keys + panel_offset(chunk_row);
  for (std::size_t d = 0; d < kHeadSize; ++d) {
    key[d * kPanelCols] = k[d];
    sums[d] += k[d];
  }
  std::copy_n(v, kHeadSize, keys + head_keys() + chunk_row * kHeadSize);
  if (chunk_row + 1 == chunk_size_) {
    float* mean = means_[chunk / kPanelCols].data() + head * kMeanPanel + chunk % kPanelCols;
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      mean[d * kPanelCols] = sums[d] / static_cast<float>(chunk_size_);
      sums[d] = 0;
    }
  }
}

void KvCache::append(base::MatView<const float> k, base::MatView<const float> v,
                     kernels::ThreadPool& pool) {
  reserve(n_rows_ + k.rows());
  pool.for_each(n_head_, [&](std::size_t head, std::size_t) {
    for (std::size_t t = 0; t < k.rows(); ++t) {
      put(head, n_rows_ + t, k.row(t).data() + head * kHeadSize,
          v.row(t).data() + head * kHeadSize);
    }
  });
  n_rows_ += k.rows();
}

kernels::ChunkRows KvCache::rows(std::size_t chunk, std::size_t head) const {
  const float* keys = chunks_[chunk].data() + head * head_numbers();
  return {{keys, kMeanPanel, kPanelCols}, keys + head_keys()};
}

void KvCache::score_chunks(std::size_t head, base::MatView<const float> q,
                           base::MatView<float> scores) const {
  LR_DCHECK(scores.cols() <= closed_chunks());
  for (std::size_t first = 0; first < scores.cols(); first += kPanelCols) {
    const float* means = means_[first / kPanelCols].data() + head * kMeanPanel;
    kernels::panel_product(q, kernels::Panels<float>{means, kMeanPanel, kPanelCols},
                           scores.cols(first, std::min(kPanelCols, scores.cols() - first)),
                           kernels::Start::kZero);
  }
}

void KvCache::score_rows(std::size_t head, std::span<const float> q,
                         std::span<float> scores) const {
  for (std::size_t first = 0; first < scores.size(); first += chunk_size_) {
    const std::size_t n = std::min(chunk_size_, scores.size() - first);
    kernels::panel_product({q.data(), 1, kHeadSize}, rows(first / chunk_size_, head).keys,
                           {scores.data() + first, 1, n}, kernels::Start::kZero);
  }
}

KvCache KvCache::select(const std::vector<std::vector<std::uint32_t>>& kept,
                        kernels::ThreadPool& pool) const {
  KvCache result(n_head_, chunk_size_);
  result.reserve(kept[0].size());
  pool.for_each(n_head_, [&](std::size_t head, std::size_t) {
    for (std::size_t i = 0; i < kept[head].size(); ++i) {
      const auto [chunk, row] = locate(kept[head][i]);
      const kernels::ChunkRows from = rows(chunk, head);
      std::array<float, kHeadSize> key;
      for (std::size_t d = 0; d < kHeadSize; ++d)
        key[d] = from.keys.data[panel_offset(row) + d * kPanelCols];
      result.put(head, i, key.data(), from.values + row * kHeadSize);
    }
  });
  result.n_rows_ = kept[0].size();
  return result;
}

std::size_t KvCache::size_bytes() const {
  const std::size_t padded_rows = closed_chunks() * kernels::panel_count(chunk_size_) * kPanelCols +
                                  kernels::panel_count(n_rows_ % chunk_size_) * kPanelCols;
  const std::size_t numbers = (padded_rows + n_rows_) * kHeadSize + means_.size() * kMeanPanel;
  return n_head_ * numbers * sizeof(float);
}

}  // namespace longreach::model
