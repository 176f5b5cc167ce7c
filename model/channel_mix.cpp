#include "model/channel_mix.hpp"

#include "kernels/matrix.hpp"
#include "model/columns.hpp"
#include "model/steps.hpp"

namespace longreach::model {

void channel_mix(Context& context, const ChannelMixWeights& weights, base::MatView<const float> x,
                 std::vector<float>& shift, base::MatView<float> out) {
  const auto mixed = context.workspace.mixed.first(x.rows());
  const auto hidden = context.workspace.hidden.first(x.rows());
  shift_rows(context.pool, x, shift, weights.x_k, mixed);
  const partition::Range own_hidden = context.slices.hidden, own_out = context.slices.channels;
  const auto computed = hidden.cols(own_hidden.begin, own_hidden.size());
  kernels::multiply(context.pool, mixed, weights.key, computed);
  for_rows(context.pool, computed, kernels::squared_relu);
  share_columns(context, Dealing::kPanels, hidden);
  kernels::multiply(context.pool, hidden, weights.value, out.cols(own_out.begin, own_out.size()));
  share_columns(context, Dealing::kPanels, out);
  remember_last_row(x, shift);
}

}  // namespace longreach::model
