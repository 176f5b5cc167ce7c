/// KV-cache eviction of the released package (mode `reference` only).
#pragma once

#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"

#include <cstddef>
#include <vector>

namespace longreach::model {

/// Whether a call that finds n_rows in the cache evicts before it begins.
bool eviction_due(const AttentionConfig& config, std::size_t n_rows);

/// Collects the votes of a call's queries for the rows of a cache, then keeps the rows with the
/// most. A head's shard counts its votes and decides; rows change shards, since a kept row has
/// another number. Source: model-spec section 4.4.
class Eviction {
 public:
  /// Requires: eviction_due for the cache.
  Eviction(Context& context, const KvCache& cache);

  /// Adds the votes of queries q [T, H * 64], whole rows: the softmax over all rows older than the
  /// window. Collective: all shards.
  void add_votes(base::MatView<const float> q);

  /// The cache of kv_min rows: every head's own rows of largest vote, by falling vote, then the
  /// window. Collective: all shards.
  KvCache kept_rows() const;

 private:
  /// The rows of the old cache that the new one keeps, [head][new row].
  std::vector<std::uint32_t> choose_rows() const;

  Context& context_;
  const KvCache& cache_;
  std::size_t n_past_;                     ///< Rows older than the window.
  std::size_t n_kept_;                     ///< Of these.
  std::vector<std::vector<float>> votes_;  ///< [own head][past row]
};

}  // namespace longreach::model
