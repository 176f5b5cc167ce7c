/// The channel mix that ends every block.
#pragma once

#include "model/context.hpp"

#include <vector>

namespace longreach::model {

/// out[t] = max(0, shift(x)[t] W_key^T)^2 W_value^T.
/// Shapes: x, out [T, C], T <= kSliceTokens; x already normalised; shift (C) is x[-1], then x[T-1].
/// Collective: all shards. Source: model-spec section 3.
void channel_mix(Context& context, const ChannelMixWeights& weights, base::MatView<const float> x,
                 std::vector<float>& shift, base::MatView<float> out);

}  // namespace longreach::model
