/// The forward pass: tokens to hidden rows, through the blocks, to logits.
#pragma once

#include "model/context.hpp"
#include "model/state.hpp"

#include <cstddef>
#include <functional>
#include <span>

namespace longreach::model {

/// Called from time to time with the share of the work that is done, 0..1. Returns false to stop.
using Progress = std::function<bool(double share_done)>;

/// x[t] = LN(E[token]; ln0). Shapes: x [T, C]. Requires: tokens inside the vocabulary, and the
/// first stage's weights.
void embed(Context& context, std::span<const base::TokenId> tokens, base::MatView<float> x);

/// Runs a step through the blocks of the stage, in modes moba, full and none.
/// Shapes: x [T, C], the rows of the step, goes from the output of the block before to that of the
/// last one, of the model's last one in the rows whose logits are wanted alone; v_first [T, C] is
/// written by the model's first block and read by the later ones, of both only the columns of this
/// shard's heads. states[s] moves on by the tokens of segment s. Returns false when `progress`
/// stopped it, which only a stage of one shard may; x and states are then of no further use.
/// Requires: the segments' sequences differ. Collective: all shards. Source: model-spec section 1.
bool run_blocks(Context& context, const Step& step, base::MatView<float> x,
                base::MatView<float> v_first, std::span<SequenceState* const> states,
                const Progress& progress);

/// logits[t] = LN(x[t]; ln_out) W_head^T, of which the shard computes its columns of the
/// vocabulary. Shapes: x [T, C], T <= kMostStepRows; logits [T, own columns]. Requires: the last
/// stage's weights.
void compute_logits(Context& context, base::MatView<const float> x, base::MatView<float> logits);

}  // namespace longreach::model
