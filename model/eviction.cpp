#include "model/eviction.hpp"

#include "kernels/attention.hpp"

#include <algorithm>
#include <numeric>

namespace longreach::model {

bool eviction_due(const AttentionConfig& config, std::size_t n_rows) {
  return config.mode == AttentionMode::kReference && config.kv_max > 0 && n_rows > config.kv_max &&
         n_rows > config.kv_min;
}

Eviction::Eviction(const AttentionConfig& config, const KvCache& cache, std::size_t n_head)
    : cache_(cache),
      n_past_(cache.size() - config.kv_window),
      n_kept_(config.kv_min - config.kv_window),
      votes_(n_head, std::vector<float>(n_past_)),
      scores_(n_head, std::vector<float>(n_past_)) {
  LR_CHECK(config.kv_window < config.kv_min);
}

void Eviction::add_votes(kernels::ThreadPool& pool, base::MatView<const float> q) {
  pool.for_each(votes_.size(), [&](std::size_t head, std::size_t) {
    const auto head_q = q.cols(head * kernels::kHeadSize, kernels::kHeadSize);
    for (std::size_t t = 0; t < q.rows(); ++t) {
      cache_.score_rows(head, head_q.row(t), scores_[head]);
      kernels::add_softmax(scores_[head], votes_[head]);
    }
  });
}

KvCache Eviction::kept_rows(kernels::ThreadPool& pool) const {
  std::vector<std::vector<std::uint32_t>> kept(votes_.size());
  for (std::size_t head = 0; head < votes_.size(); ++head) {
    const std::vector<float>& votes = votes_[head];
    std::vector<std::uint32_t>& rows = kept[head];
    rows.resize(n_past_);
    std::iota(rows.begin(), rows.end(), 0U);
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return votes[a] > votes[b]; });
    rows.resize(n_kept_);
    for (std::size_t row = n_past_; row < cache_.size(); ++row)
      rows.push_back(static_cast<std::uint32_t>(row));
  }
  return cache_.select(kept, pool);
}

}  // namespace longreach::model
