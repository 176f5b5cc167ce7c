/// The RWKV-7 time mix.
#pragma once

#include "model/context.hpp"
#include "model/state.hpp"

namespace longreach::model {

/// Whether a block is the first executed one, which defines v_first, or a later one, which uses it.
enum class ValueResidual { kDefines, kUses };

/// The RWKV-7 time mix of a slice. Of v_first only the own heads' columns are used; out is whole.
/// Shapes: x, v_first, out [T, C], T <= kSliceTokens; x already normalised. `state` goes from
///         before the slice to after it.
/// Collective: all shards. Source: model-spec section 2 ("x070").
void time_mix(Context& context, const RwkvBlockWeights& weights, base::MatView<const float> x,
              ValueResidual residual, base::MatView<float> v_first, RwkvState& state,
              base::MatView<float> out);

}  // namespace longreach::model
