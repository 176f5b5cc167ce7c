#include "model/channel_mix.hpp"

#include "kernels/matrix.hpp"
#include "model/steps.hpp"

namespace longreach::model {

void channel_mix(Context& context, const ChannelMixWeights& weights, base::MatView<const float> x,
                 std::vector<float>& shift, base::MatView<float> out) {
  const auto mixed = context.workspace.mixed.first(x.rows());
  const auto hidden = context.workspace.hidden.first(x.rows());
  shift_rows(context.pool, x, shift, weights.x_k, mixed);
  kernels::multiply(context.pool, mixed, weights.key, hidden);
  for_rows(context.pool, hidden, kernels::squared_relu);
  kernels::multiply(context.pool, hidden, weights.value, out);
  remember_last_row(x, shift);
}

}  // namespace longreach::model
