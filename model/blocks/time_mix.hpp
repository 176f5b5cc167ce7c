/// The RWKV-7 time mix.
#pragma once

#include "model/context.hpp"
#include "model/state.hpp"

#include <span>

namespace longreach::model {

/// Whether a block is the first executed one, which defines v_first, or a later one, which uses it.
enum class ValueResidual { kDefines, kUses };

/// The RWKV-7 time mix of a step, up to its heads' output. Of v_first and y only the columns of
/// this shard's heads are used. Shapes: x, v_first, y [T, C], the rows of the step; x already
/// normalised. states[s] goes from before segment s to after it. Source: model-spec section 2
/// ("x070").
void time_mix(Context& context, const RwkvBlockWeights& weights, const Step& step,
              base::MatView<const float> x, ValueResidual residual, base::MatView<float> v_first,
              std::span<RwkvState* const> states, base::MatView<float> y);

}  // namespace longreach::model
