/// KV-cache eviction of the released package.
#pragma once

#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"

#include <cstddef>
#include <vector>

namespace longreach::model::reference {

/// Whether a call that finds n_rows in the cache evicts before it begins.
bool eviction_due(const AttentionConfig& config, std::size_t n_rows);

/// Collects the votes of a call's queries for the rows of a cache, then keeps the rows with the
/// most. On one shard only. Source: model-spec section 4.4.
class Eviction {
 public:
  /// Requires: eviction_due for the cache.
  Eviction(Context& context, const KvCache& cache);

  /// Adds the votes of queries q [T, H * 64]: the softmax over all rows older than the window.
  void add_votes(base::MatView<const float> q);

  /// The cache of kv_min rows: every head's own rows of largest vote, by falling vote, then the
  /// window.
  KvCache kept_rows() const;

 private:
  /// The rows of the old cache that the new one keeps, [head][new row].
  std::vector<std::uint32_t> choose_rows() const;

  Context& context_;
  const KvCache& cache_;
  std::size_t n_past_;                     ///< Rows older than the window.
  std::size_t n_kept_;                     ///< Of these.
  std::vector<std::vector<float>> votes_;  ///< [head][past row]
};

}  // namespace longreach::model::reference
