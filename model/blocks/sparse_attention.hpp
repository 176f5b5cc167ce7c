/// Sparse attention of a slice, from the block's input to its output.
#pragma once

#include "model/cache/attention_span.hpp"
#include "model/context.hpp"
#include "model/state.hpp"

namespace longreach::model {

/// Projects a slice, adds it to the cache, chooses chunks, attends to them, projects back.
/// Shapes: x, out [T, C], T <= kSliceTokens; x already normalised; out is whole.
/// Collective: all shards. Source: model-spec sections 4.1 to 4.3.
void sparse_attention(Context& context, const SparseBlockWeights& weights, const CallRows& call,
                      base::MatView<const float> x, SparseState& state, base::MatView<float> out);

}  // namespace longreach::model
