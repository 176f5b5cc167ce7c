#include "model/cache/kv_cache.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

using kernels::kHeadSize;
using kernels::kPanelCols;

constexpr std::size_t kMeanPanel = kHeadSize * kPanelCols;

}  // namespace

KvCache::KvCache(std::size_t n_head, std::size_t chunk_size, base::KvFormat format,
                 Exchange& exchange)
    : exchange_(&exchange),
      shard_(exchange.shard()),
      n_head_(n_head),
      chunk_size_(chunk_size),
      layout_(format, chunk_size),
      open_sums_(n_head * kHeadSize) {
  LR_CHECK(n_head >= 1 && chunk_size >= 1);
}

KvCache::Chunk KvCache::new_chunk(std::size_t chunk) const {
  return exchange_->new_chunk(partition::owner_of_chunk(chunk, shard_.count), chunk_bytes());
}

KvCache::Means KvCache::new_means() const {
  const auto memory = std::make_shared<base::Buffer<float>>(n_head_ * kMeanPanel);
  return {memory, memory->data()};
}

void KvCache::reserve(std::size_t n_rows) {
  while (chunks_.size() * chunk_size_ < n_rows) chunks_.push_back(new_chunk(chunks_.size()));
  while (means_.size() * kPanelCols < own_chunks(chunks_.size())) means_.push_back(new_means());
}

KvCache KvCache::fork() const {
  KvCache result(n_head_, chunk_size_, format(), *exchange_);
  result.n_rows_ = n_rows_;
  result.chunks_ = chunks_;
  result.means_ = means_;
  result.open_sums_ = open_sums_;
  if (const std::size_t open = closed_chunks(); open < chunks_.size()) {
    result.chunks_[open] = new_chunk(open);
    if (partition::owner_of_chunk(open, shard_.count) == shard_.index) {
      std::copy_n(chunks_[open].get(), chunk_bytes(), result.chunks_[open].get());
    }
  }
  const std::size_t full_panels = own_chunks(closed_chunks()) / kPanelCols;
  for (std::size_t i = full_panels; i < means_.size(); ++i) {
    result.means_[i] = new_means();
    std::copy_n(means_[i].get(), n_head_ * kMeanPanel, result.means_[i].get());
  }
  return result;
}

void KvCache::put(std::size_t head, std::size_t row, std::span<const float> k,
                  std::span<const float> v) {
  const std::size_t chunk = row / chunk_size_, chunk_row = row % chunk_size_;
  const auto sums = std::span(open_sums_).subspan(head * kHeadSize, kHeadSize);
  layout_.put(chunks_[chunk].get() + head * layout_.size_bytes(), chunk_row, k, v, sums);
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
      put(head, n_rows_ + t, k.row(t).subspan(head * kHeadSize, kHeadSize),
          v.row(t).subspan(head * kHeadSize, kHeadSize));
    }
  });
  n_rows_ += k.rows();
}

kernels::ChunkRows KvCache::rows(std::size_t chunk, std::size_t head) const {
  LR_DCHECK(chunks_[chunk]);
  return layout_.rows(chunks_[chunk].get() + head * layout_.size_bytes());
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
  kernels::score_keys({q.data(), 1, kHeadSize}, rows(chunk, head),
                      {scores.data(), 1, scores.size()});
}

void KvCache::copy_row(std::size_t head, std::size_t row, std::span<float> key,
                       std::span<float> value) const {
  kernels::read_row(rows(row / chunk_size_, head), row % chunk_size_, key, value);
}

std::size_t KvCache::size_bytes() const {
  return own_chunks(chunks_.size()) * chunk_bytes() +
         means_.size() * n_head_ * kMeanPanel * sizeof(float);
}

}  // namespace longreach::model
