/// KV-cache eviction of the released package (mode `reference` only).
#pragma once

#include "model/context.hpp"
#include "model/state.hpp"

#include <cstddef>
#include <vector>

namespace longreach::model {

/// Whether a call that finds n_rows in the cache evicts before it begins.
bool eviction_due(const AttentionConfig& config, std::size_t n_rows);

/// Collects the votes of a call's queries for the rows of a cache, then keeps the rows with the
/// most. Source: model-spec section 4.4.
class Eviction {
 public:
  /// Requires: eviction_due for the cache.
  Eviction(const AttentionConfig& config, const KvCache& cache, std::size_t n_head);

  /// Adds the votes of queries q [T, H * 64]: the softmax over all rows older than the window.
  void add_votes(kernels::ThreadPool& pool, base::MatView<const float> q);

  /// The cache of kv_min rows: every head's own rows of largest vote, by falling vote, then the
  /// window.
  KvCache kept_rows(kernels::ThreadPool& pool) const;

 private:
  const KvCache& cache_;
  std::size_t n_past_;                      ///< Rows older than the window.
  std::size_t n_kept_;                      ///< Of these.
  std::vector<std::vector<float>> votes_;   ///< [head][past row]
  std::vector<std::vector<float>> scores_;  ///< [head][past row], scratch
};

}  // namespace longreach::model
