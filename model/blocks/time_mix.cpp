#include "model/blocks/time_mix.hpp"

#include "kernels/matmul/matrix.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "model/blocks/linear_product.hpp"
#include "model/blocks/row_steps.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

/// Of a vector of all channels those of this shard's heads.
std::span<const float> own_channels(const Context& context, const Vector& vector) {
  const partition::Range columns = context.extents.head_columns;
  return std::span(vector).subspan(columns.begin, columns.size());
}

/// y = activation(x first) second, row by row; without the bias.
template <typename Activation>
void low_rank_product(Context& context, const LowRankWeights& weights, MatView<const float> x,
                      Activation&& activation, MatView<float> y) {
  const MatView<float> inner = low_rank_rows(context, x.rows(), weights.first.n_out());
  kernels::multiply(context.pool, x, weights.first, inner);
  for_rows(context.pool, inner, activation);
  kernels::multiply(context.pool, inner, weights.second, y);
}

void identity(std::span<float>) {}

/// v = v + (v_first - v) * sigmoid(v0 + x v1 v2). Uses the gate's buffer, which is filled later.
void add_value_residual(Context& context, const LowRankWeights& weights, MatView<const float> x,
                        MatView<const float> v_first, MatView<float> v) {
  const auto [first, last] = context.extents.head_columns;
  const auto share = context.workspace.g.first(x.rows()).cols(first, last - first);
  low_rank_product(context, weights, x, identity, share);
  context.pool.for_each(x.rows(), [&](std::size_t t, std::size_t) {
    kernels::value_residual(v_first.row(t), own_channels(context, weights.bias), share.row(t),
                            v.row(t));
  });
}

/// The recurrence of this shard's heads, each head of each segment by itself.
void run_heads(Context& context, const RwkvBlockWeights& weights, const Step& step,
               const kernels::TimeMixInputs& in, std::span<RwkvState* const> states,
               MatView<float> y) {
  const std::size_t n_heads = context.extents.heads.size();
  context.pool.for_each(n_heads * states.size(), [&](std::size_t task, std::size_t) {
    const std::size_t segment = task / n_heads, head = task % n_heads;
    const std::size_t first = head * kHeadSize;
    const std::size_t first_row = step.first_row(segment);
    const std::size_t n_rows = step.segments()[segment].n_rows;
    const auto part = [&](const Vector& vector) {
      return own_channels(context, vector).subspan(first, kHeadSize);
    };
    const auto columns = [&](MatView<const float> rows) {
      return rows.rows(first_row, n_rows).cols(first, kHeadSize);
    };
    kernels::time_mix_head(
        {part(weights.k_k), part(weights.k_a), part(weights.r_k), part(weights.ln_x.weight),
         part(weights.ln_x.bias)},
        {columns(in.r), columns(in.w), columns(in.k), columns(in.v), columns(in.a), columns(in.g)},
        states[segment]->wkv.span().subspan(head * kernels::kHeadStateSize,
                                            kernels::kHeadStateSize),
        y.rows(first_row, n_rows).cols(first, kHeadSize));
  });
}

}  // namespace

void time_mix(Context& context, const RwkvBlockWeights& weights, const Step& step,
              MatView<const float> x, ValueResidual residual, MatView<float> v_first,
              std::span<RwkvState* const> states, MatView<float> y) {
  kernels::ThreadPool& pool = context.pool;
  Workspace& space = context.workspace;
  const std::size_t n = x.rows();
  const auto mixed = space.mixed.first(n);
  const auto last_input = [states](std::size_t segment) -> std::vector<float>& {
    return states[segment]->att_shift;
  };
  const auto shift = [&](const Vector& mix) -> MatView<const float> {
    shift_rows(pool, step, x, last_input, mix, mixed);
    return mixed;
  };
  const partition::Range columns = context.extents.head_columns;
  const auto own = [&](MatView<float> rows) { return rows.cols(columns.begin, columns.size()); };
  const auto r = own(space.r.first(n)), w = own(space.w.first(n)), k = own(space.k.first(n)),
             v = own(space.v.first(n)), a = own(space.a.first(n)), g = own(space.g.first(n));

  linear_product(context, shift(weights.x_r), weights.receptance, r);
  linear_product(context, shift(weights.x_k), weights.key, k);

  linear_product(context, shift(weights.x_v), weights.value, v);
  if (residual == ValueResidual::kDefines) {
    pool.for_each(n, [&](std::size_t t, std::size_t) {
      std::ranges::copy(v.row(t), own(v_first).row(t).begin());
    });
  } else {
    add_value_residual(context, weights.residual, mixed, own(v_first), v);
  }

  low_rank_product(context, weights.decay, shift(weights.x_w), kernels::tanh, w);
  for_rows(pool, w, [&](std::span<float> row) {
    kernels::decay(own_channels(context, weights.decay.bias), row);
  });

  low_rank_product(context, weights.rate, shift(weights.x_a), identity, a);
  for_rows(pool, a, [&](std::span<float> row) {
    kernels::biased_sigmoid(own_channels(context, weights.rate.bias), row);
  });

  low_rank_product(context, weights.gate, shift(weights.x_g), kernels::sigmoid, g);

  run_heads(context, weights, step, {r, w, k, v, a, g}, states, own(y));
  const std::size_t first_head = context.extents.heads.begin;
  context.observer->see_heads("r", first_head, r);
  context.observer->see_heads("k", first_head, k);
  context.observer->see_heads("v", first_head, v);
  context.observer->see_heads("w", first_head, w);
  context.observer->see_heads("a", first_head, a);
  context.observer->see_heads("g", first_head, g);
  context.observer->see_heads("heads", first_head, own(y));
  remember_last_rows(step, x, last_input);
}

}  // namespace longreach::model
