/// Sparse attention of a step, from the block's input to its output.
#pragma once

#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"

#include <functional>
#include <span>

namespace longreach::model {

/// Fills the workspace's selection for the queries q [T, H * 64] of rows that have just been
/// appended to the caches of these segments, which count rows of q.
using SelectChunks =
    std::function<void(std::span<const SegmentCache> segments, base::MatView<const float> q)>;

/// Projects the rows, adds each segment's to its cache, chooses chunks, attends to them. Only the
/// rows of `last`, or all if it is null, have queries; x is overwritten. Shapes: x [T, C], already
/// normalised; y [T, C], of which the first rows, those of the queries, are written in the columns
/// of this shard's heads. Collective: all shards. Source: model-spec sections 4.1 and 4.2.
void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, base::MatView<float> x,
                      const LastRows* last, base::MatView<float> y);

/// The same with another choice of chunks than that of modes moba and full.
void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, base::MatView<float> x,
                      const LastRows* last, const SelectChunks& select, base::MatView<float> y);

}  // namespace longreach::model
