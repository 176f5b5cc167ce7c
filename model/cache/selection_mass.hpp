/// What the choice of chunks misses: the share of full attention that lies where a query looks.
///
/// A query's softmax over all rows of the cache up to its own gives every chunk a mass, the sum of
/// its rows' probabilities. The masses come from the partials that attention over all chunks would
/// merge; each shard computes those of its own chunks.
#pragma once

#include "kernels/base/view.hpp"
#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"
#include "model/observer.hpp"

#include <cstddef>
#include <span>

namespace longreach::model {

/// The shares of a query that the selection says something about. weights[c] is proportional to
/// chunk c's mass, for all chunks up to the query's own. Added up in order of chunks, so a query
/// that sees everything has shares of exactly 1.
MassShares shares_of(const Selection& selection, std::size_t head, std::size_t query,
                     std::span<const float> weights);

/// Computes the shares of those of the newest rows' queries q [T, H * 64] that the context's
/// observer measures, and reports them. Uses the workspace's selection. Collective: all shards,
/// with whole rows q. Requires: mode moba or full, whose queries see whole chunks up to their own
/// row.
void measure_selection(Context& context, base::MatView<const float> q);

}  // namespace longreach::model
