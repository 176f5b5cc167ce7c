#include "model/blocks/time_mix.hpp"

#include "kernels/recurrence/recurrence.hpp"
#include "model/blocks/linear_product.hpp"
#include "model/blocks/row_steps.hpp"

#include <algorithm>
#include <variant>
#include <vector>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

/// Of a vector of all channels those of this shard's heads.
std::span<const float> own_channels(const Context& context, const Vector& vector) {
  const partition::Range columns = context.extents.head_columns;
  return std::span(vector).subspan(columns.begin, columns.size());
}

/// A product of a shifted input: of one matrix, or of the first factor of a low-rank product.
struct ShiftedProduct {
  const Vector& mix;
  std::variant<const LinearWeights*, const kernels::PackedMatrix*> weights;
  MatView<float> y;
};

/// Multiplies a step's shifted rows, each kind of shift by what needs it. Products share a job as
/// far as the workspace has room for their inputs: all of them with few rows, whose products are
/// short beside waiting for the other threads.
void shifted_products(Context& context, const Step& step, MatView<const float> x,
                      std::span<RwkvState* const> states,
                      std::span<const ShiftedProduct> products) {
  const auto last_input = [states](std::size_t segment) -> std::vector<float>& {
    return states[segment]->att_shift;
  };
  const std::size_t n = x.rows(), n_inputs = std::max<std::size_t>(kStepRows / n, 1);
  ProductGroup group(context);
  const Vector* shifted = nullptr;
  MatView<float> mixed = context.workspace.mixed.first(n);
  std::size_t n_used = 0;
  for (const ShiftedProduct& product : products) {
    if (&product.mix != shifted) {
      if (n_used == n_inputs) {
        group.multiply();
        n_used = 0;
      }
      mixed = context.workspace.mixed.first((n_used + 1) * n).rows(n_used * n, n);
      shift_rows(context.pool, step, x, last_input, product.mix, mixed);
      shifted = &product.mix;
      ++n_used;
    }
    std::visit([&](const auto* weights) { group.add(mixed, *weights, product.y); },
               product.weights);
  }
  group.multiply();
  remember_last_rows(step, x, last_input);
}

/// What a time mix computes of its input for the recurrence, and where: this shard's heads'
/// columns. All of them are read by the heads, which finish those of w, a and v.
struct TimeMixRows {
  MatView<float> r, w, k, v, a, g;
  MatView<float> share;  ///< Of v_first in v.
};

/// Room for what the first factors of a block's low-rank products give.
class LowRankRows {
 public:
  LowRankRows(Context& context, std::size_t n_rows)
      : next_(context.workspace.low_rank.first(n_rows).data()), n_rows_(n_rows) {}

  MatView<float> add(const LowRankWeights& weights) {
    const MatView<float> rows(next_, n_rows_, weights.first.n_out());
    next_ += rows.rows() * rows.cols();
    return rows;
  }

 private:
  float* next_;
  std::size_t n_rows_;
};

/// Fills `p`, w, a and the share without bias and activation.
void project(Context& context, const RwkvBlockWeights& weights, const Step& step,
             MatView<const float> x, ValueResidual residual, std::span<RwkvState* const> states,
             const TimeMixRows& p) {
  LowRankRows inner(context, x.rows());
  const auto w = inner.add(weights.decay), a = inner.add(weights.rate), g = inner.add(weights.gate),
             v = inner.add(weights.residual);
  std::vector<ShiftedProduct> products{
      {weights.x_r, &weights.receptance, p.r}, {weights.x_k, &weights.key, p.k},
      {weights.x_w, &weights.decay.first, w},  {weights.x_a, &weights.rate.first, a},
      {weights.x_g, &weights.gate.first, g},   {weights.x_v, &weights.value, p.v}};
  if (residual == ValueResidual::kUses) {
    products.push_back({weights.x_v, &weights.residual.first, v});
  }
  shifted_products(context, step, x, states, products);

  context.pool.for_each(x.rows(), [&](std::size_t t, std::size_t) {
    kernels::tanh(w.row(t));
    kernels::sigmoid(g.row(t));
  });
  ProductGroup group(context);
  group.add(w, weights.decay.second, p.w);
  group.add(a, weights.rate.second, p.a);
  group.add(g, weights.gate.second, p.g);
  if (residual == ValueResidual::kUses) group.add(v, weights.residual.second, p.share);
  group.multiply();
}

/// The recurrence of this shard's heads, each head of each segment by itself, from what its
/// projections lack on.
void run_heads(Context& context, const RwkvBlockWeights& weights, const Step& step,
               const TimeMixRows& p, ValueResidual residual, MatView<float> v_first,
               std::span<RwkvState* const> states, MatView<float> y) {
  const std::size_t n_heads = context.extents.heads.size();
  context.pool.for_each(n_heads * states.size(), [&](std::size_t task, std::size_t) {
    const std::size_t segment = task / n_heads, head = task % n_heads;
    const std::size_t first = head * kHeadSize;
    const std::size_t first_row = step.first_row(segment);
    const std::size_t n_rows = step.segments()[segment].n_rows;
    const auto part = [&](const Vector& vector) {
      return own_channels(context, vector).subspan(first, kHeadSize);
    };
    const auto columns = [&](MatView<float> rows) {
      return rows.rows(first_row, n_rows).cols(first, kHeadSize);
    };
    const auto w = columns(p.w), v = columns(p.v), a = columns(p.a), share = columns(p.share),
               defined = columns(v_first);
    for (std::size_t t = 0; t < n_rows; ++t) {
      kernels::decay(part(weights.decay.bias), w.row(t));
      kernels::biased_sigmoid(part(weights.rate.bias), a.row(t));
      if (residual == ValueResidual::kDefines) {
        std::ranges::copy(v.row(t), defined.row(t).begin());
      } else {
        kernels::value_residual(defined.row(t), part(weights.residual.bias), share.row(t),
                                v.row(t));
      }
    }
    kernels::time_mix_head({part(weights.k_k), part(weights.k_a), part(weights.r_k),
                            part(weights.ln_x.weight), part(weights.ln_x.bias)},
                           {columns(p.r), w, columns(p.k), v, a, columns(p.g)},
                           states[segment]->wkv.span().subspan(head * kernels::kHeadStateSize,
                                                               kernels::kHeadStateSize),
                           columns(y));
  });
}

}  // namespace

void time_mix(Context& context, const RwkvBlockWeights& weights, const Step& step,
              MatView<const float> x, ValueResidual residual, MatView<float> v_first,
              std::span<RwkvState* const> states, MatView<float> y) {
  Workspace& space = context.workspace;
  const partition::Range columns = context.extents.head_columns;
  const auto own = [&](Rows& rows) {
    return rows.first(x.rows()).cols(columns.begin, columns.size());
  };
  // A mix's output is computed later.
  const TimeMixRows p{own(space.r), own(space.w), own(space.k),  own(space.v),
                      own(space.a), own(space.g), own(space.out)};
  project(context, weights, step, x, residual, states, p);
  const auto own_y = y.cols(columns.begin, columns.size());
  run_heads(context, weights, step, p, residual, v_first.cols(columns.begin, columns.size()),
            states, own_y);
  const std::size_t first_head = context.extents.heads.begin;
  context.observer->see_heads("r", first_head, p.r);
  context.observer->see_heads("k", first_head, p.k);
  context.observer->see_heads("v", first_head, p.v);
  context.observer->see_heads("w", first_head, p.w);
  context.observer->see_heads("a", first_head, p.a);
  context.observer->see_heads("g", first_head, p.g);
  context.observer->see_heads("heads", first_head, own_y);
}

}  // namespace longreach::model
