/// What both kinds of blocks are: two mixes around which the residual stream passes.
#pragma once

#include "model/blocks/channel_mix.hpp"
#include "model/blocks/row_steps.hpp"

#include <span>
#include <vector>

namespace longreach::model {

/// A pre-norm residual block of a step: x += mix(LN(x; ln1)); x += channel_mix(LN(x; ln2)).
/// mix(in, out) is the block's time mix or attention. Shapes: x [T, C]; ffn_shifts as channel_mix
/// takes them. Collective: all shards. Source: model-spec section 1.
template <typename BlockWeights, typename Mix>
void residual_block(Context& context, const BlockWeights& weights, const Step& step,
                    base::MatView<float> x, std::span<std::vector<float>* const> ffn_shifts,
                    Mix&& mix) {
  const auto normed = context.workspace.normed.first(x.rows());
  const auto out = context.workspace.out.first(x.rows());
  norm_rows(context.pool, x, weights.ln1, normed);
  mix(normed, out);
  context.observer->see_rows("mix", out);
  add_rows(context.pool, out, x);
  norm_rows(context.pool, x, weights.ln2, normed);
  channel_mix(context, weights.channel_mix, step, normed, ffn_shifts, out);
  add_rows(context.pool, out, x);
  context.observer->see_rows("output", x);
}

}  // namespace longreach::model
