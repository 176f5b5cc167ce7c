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

KvCache::KvCache(std::size_t n_head, std::size_t chunk_size, Exchange& exchange)
    : exchange_(&exchange),
      shard_(exchange.shard()),
      n_head_(n_head),
      chunk_size_(chunk_size),
      open_sums_(n_head * kHeadSize) {
  LR_CHECK(n_head >= 1 && chunk_size >= 1);
}

std::size_t KvCache::head_keys() const {
  return kernels::panel_count(chunk_size_) * kPanelCols * kHeadSize;
}

KvCache::Memory KvCache::new_chunk(std::size_t chunk) const {
  return exchange_->new_chunk(partition::owner_of_chunk(chunk, shard_.count),
                              n_head_ * head_size());
}

KvCache::Memory KvCache::new_means() const {
  const auto memory = std::make_shared<base::Buffer<float>>(n_head_ * kMeanPanel);
  return {memory, memory->data()};
}

void KvCache::reserve(std::size_t n_rows) {
  while (chunks_.size() * chunk_size_ < n_rows) chunks_.push_back(new_chunk(chunks_.size()));
  while (means_.size() * kPanelCols < own_chunks(chunks_.size())) means_.push_back(new_means());
}

KvCache KvCache::fork() const {
  KvCache result(n_head_, chunk_size_, *exchange_);
  result.n_rows_ = n_rows_;
  result.chunks_ = chunks_;
  result.means_ = means_;
  result.open_sums_ = open_sums_;
  if (const std::size_t open = closed_chunks(); open < chunks_.size()) {
    result.chunks_[open] = new_chunk(open);
    if (partition::owner_of_chunk(open, shard_.count) == shard_.index) {
      std::copy_n(chunks_[open].get(), n_head_ * head_size(), result.chunks_[open].get());
    }
  }
  const std::size_t full_panels = own_chunks(closed_chunks()) / kPanelCols;
  for (std::size_t i = full_panels; i < means_.size(); ++i) {
    result.means_[i] = new_means();
    std::copy_n(means_[i].get(), n_head_ * kMeanPanel, result.means_[i].get());
  }
  return result;
}

void KvCache::put(std::size_t head, std::size_t row, const float* k, const float* v) {
  const std::size_t chunk = row / chunk_size_, chunk_row = row % chunk_size_;
  float* keys = chunks_[chunk].get() + head * head_size();
  float* sums = open_sums_.data() + head * kHeadSize;
  float* key = keys + panel_offset(chunk_row);
  for (std::size_t d = 0; d < kHeadSize; ++d) {
    key[d * kPanelCols] = k[d];
    sums[d] += k[d];
  }
  std::copy_n(v, kHeadSize, keys + head_keys() + chunk_row * kHeadSize);
  if (chunk_row + 1 == chunk_size_) {
    const std::size_t own = chunk / shard_.count;
    float* mean = means_[own / kPanelCols].get() + head * kMeanPanel + own % kPanelCols;
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
      if (owner_of_row(n_rows_ + t) != shard_.index) continue;
      put(head, n_rows_ + t, k.row(t).data() + head * kHeadSize,
          v.row(t).data() + head * kHeadSize);
    }
  });
  n_rows_ += k.rows();
}

kernels::ChunkRows KvCache::rows(std::size_t chunk, std::size_t head) const {
  LR_DCHECK(chunks_[chunk]);
  const float* keys = chunks_[chunk].get() + head * head_size();
  return {{keys, kMeanPanel, kPanelCols}, keys + head_keys()};
}

KvCache::HeadNumbers KvCache::head_numbers(std::size_t chunk, std::size_t head,
                                           std::size_t n_rows) const {
  const kernels::ChunkRows from = rows(chunk, head);
  return {{from.keys.data, kernels::panel_count(n_rows) * kMeanPanel},
          {from.values, n_rows * kHeadSize}};
}

void KvCache::score_chunks(std::size_t head, base::MatView<const float> q,
                           base::MatView<float> scores) const {
  LR_DCHECK(scores.cols() <= own_chunks(closed_chunks()));
  for (std::size_t first = 0; first < scores.cols(); first += kPanelCols) {
    const float* means = means_[first / kPanelCols].get() + head * kMeanPanel;
    kernels::panel_product(q, kernels::Panels<float>{means, kMeanPanel, kPanelCols},
                           scores.cols(first, std::min(kPanelCols, scores.cols() - first)),
                           kernels::Start::kZero);
  }
}

void KvCache::score_rows(std::size_t head, std::size_t chunk, std::span<const float> q,
                         std::span<float> scores) const {
  kernels::panel_product({q.data(), 1, kHeadSize}, rows(chunk, head).keys,
                         {scores.data(), 1, scores.size()}, kernels::Start::kZero);
}

void KvCache::copy_row(std::size_t head, std::size_t row, float* key, float* value) const {
  const kernels::ChunkRows from = rows(row / chunk_size_, head);
  const std::size_t chunk_row = row % chunk_size_;
  for (std::size_t d = 0; d < kHeadSize; ++d)
    key[d] = from.keys.data[panel_offset(chunk_row) + d * kPanelCols];
  std::copy_n(from.values + chunk_row * kHeadSize, kHeadSize, value);
}

std::size_t KvCache::size_bytes() const {
  const std::size_t own_closed = own_chunks(closed_chunks());
  const std::size_t own_open =
      partition::tokens_of(n_rows_, chunk_size_, shard_) - own_closed * chunk_size_;
  const std::size_t padded_rows =
      (own_closed * kernels::panel_count(chunk_size_) + kernels::panel_count(own_open)) *
      kPanelCols;
  const std::size_t n_rows = own_closed * chunk_size_ + own_open;
  const std::size_t numbers = (padded_rows + n_rows) * kHeadSize + means_.size() * kMeanPanel;
  return n_head_ * numbers * sizeof(float);
}

}  // namespace longreach::model
