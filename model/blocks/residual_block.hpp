/// What both kinds of blocks are: two mixes around which the residual stream passes.
#pragma once

#include "model/blocks/channel_mix.hpp"
#include "model/blocks/column_split.hpp"
#include "model/blocks/linear_product.hpp"
#include "model/blocks/row_steps.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace longreach::model {

/// The output product, which ends a time mix or attention: out[t] = y[t] W_output^T.
/// Shapes: y [T, C], of which every shard has its heads' columns; out [T, C], which is whole.
/// Collective: all shards.
inline void output_product(Context& context, const LinearWeights& output, base::MatView<float> y,
                           base::MatView<float> out) {
  all_gather_columns(context, ColumnSplit::kHeads, y);
  const partition::Range channels = context.extents.channels;
  linear_product(context, y, output, out.cols(channels.begin, channels.size()));
  all_gather_columns(context, ColumnSplit::kPanels, out);
}

/// A block behind its heads' output y: x += y W_output^T; x += channel_mix(LN(x; ln2)).
template <typename BlockWeights>
void finish_block(Context& context, const BlockWeights& weights, const Step& step,
                  base::MatView<float> y, base::MatView<float> x,
                  std::span<std::vector<float>* const> ffn_shifts) {
  const auto normed = context.workspace.normed.first(x.rows());
  const auto out = context.workspace.out.first(x.rows());
  output_product(context, weights.output, y, out);
  context.observer->see_rows("mix", out);
  add_rows(context.pool, out, x);
  norm_rows(context.pool, x, weights.ln2, normed);
  channel_mix(context, weights.channel_mix, step, normed, ffn_shifts, out);
  add_rows(context.pool, out, x);
  context.observer->see_rows("output", x);
}

/// A pre-norm residual block of a step: x += mix(LN(x; ln1)); x += channel_mix(LN(x; ln2)).
/// mix(in, y) is the block's time mix or attention up to its heads' output y. Of the model's last
/// block only `last` goes on, which is null in all others: y is then that of its rows alone, and x
/// in the end of no use but in these. Shapes: x, in [T, C]; ffn_shifts as channel_mix takes them.
/// Collective: all shards. Source: model-spec section 1.
template <typename BlockWeights, typename Mix>
void residual_block(Context& context, const BlockWeights& weights, const Step& step,
                    base::MatView<float> x, std::span<std::vector<float>* const> ffn_shifts,
                    const LastRows* last, Mix&& mix) {
  const auto normed = context.workspace.normed.first(x.rows());
  const auto y = context.workspace.y.first(x.rows());
  norm_rows(context.pool, x, weights.ln1, normed);
  mix(normed, y);
  if (last == nullptr) {
    finish_block(context, weights, step, y, x, ffn_shifts);
    return;
  }
  const std::size_t n = last->rows.size();
  last->gather(x);
  finish_block(context, weights, last->step, y.rows(0, n), x.rows(0, n), ffn_shifts);
  last->scatter(x);
}

}  // namespace longreach::model
