/// The channel mix that ends every block.
#pragma once

#include "model/context.hpp"

#include <span>
#include <vector>

namespace longreach::model {

/// out[t] = max(0, shift(x)[t] W_key^T)^2 W_value^T.
/// Shapes: x, out [T, C], the rows of the step; x already normalised; shifts[s] (C) is segment s's
///         row before the step, then its last one.
/// Collective: all shards. Source: model-spec section 3.
void channel_mix(Context& context, const ChannelMixWeights& weights, const Step& step,
                 base::MatView<const float> x, std::span<std::vector<float>* const> shifts,
                 base::MatView<float> out);

}  // namespace longreach::model
