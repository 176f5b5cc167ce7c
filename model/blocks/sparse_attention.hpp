/// Sparse attention of a step, from the block's input to its output.
#pragma once

#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"

#include <functional>
#include <span>

namespace longreach::model {

/// Fills the workspace's selection for the queries q [T, H * 64] of rows that have just been
/// appended to the caches.
using SelectChunks =
    std::function<void(std::span<const SegmentCache> caches, base::MatView<const float> q)>;

/// Projects the rows, adds each segment's to its cache, chooses chunks, attends to them, projects
/// back. Shapes: x, out [T, C]; x already normalised; out is whole.
/// Collective: all shards. Source: model-spec sections 4.1 and 4.2.
void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, base::MatView<const float> x,
                      base::MatView<float> out);

/// The same with another choice of chunks than that of modes moba and full.
void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, base::MatView<const float> x,
                      const SelectChunks& select, base::MatView<float> out);

}  // namespace longreach::model
