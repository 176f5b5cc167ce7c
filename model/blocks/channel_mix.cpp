#include "model/blocks/channel_mix.hpp"

#include "model/blocks/column_split.hpp"
#include "model/blocks/linear_product.hpp"
#include "model/blocks/row_steps.hpp"

namespace longreach::model {

void channel_mix(Context& context, const ChannelMixWeights& weights, const Step& step,
                 base::MatView<const float> x, std::span<std::vector<float>* const> shifts,
                 base::MatView<float> out) {
  const auto shift = [shifts](std::size_t segment) -> std::vector<float>& {
    return *shifts[segment];
  };
  const auto mixed = context.workspace.mixed.first(x.rows());
  const auto hidden = context.workspace.hidden.first(x.rows());
  shift_rows(context.pool, step, x, shift, weights.x_k, mixed);
  const partition::Range own_hidden = context.extents.hidden, own_out = context.extents.channels;
  const auto computed = hidden.cols(own_hidden.begin, own_hidden.size());
  linear_product(context, mixed, weights.key, computed);
  for_rows(context.pool, computed, kernels::squared_relu);
  all_gather_columns(context, ColumnSplit::kPanels, hidden);
  // Most of what the squared ReLU leaves is zero.
  linear_product(context, hidden, weights.value, out.cols(own_out.begin, own_out.size()),
                 kernels::Inputs::kManyZero);
  all_gather_columns(context, ColumnSplit::kPanels, out);
  remember_last_rows(step, x, shift);
}

}  // namespace longreach::model
