/// The products of linear layers, whose matrix may be two factors of low rank.
#pragma once

#include "kernels/matmul/matrix.hpp"
#include "model/context.hpp"

#include <cstddef>

namespace longreach::model {

/// Room for what a first factor gives, [n_rows, its outputs]; the next call takes it again.
inline base::MatView<float> low_rank_rows(Context& context, std::size_t n_rows,
                                          const kernels::PackedMatrix& first) {
  return {context.workspace.low_rank.first(n_rows).data(), n_rows, first.n_out()};
}

/// y = x W^T of this shard's outputs. A first factor is multiplied on every shard, as whole, so
/// nothing travels between the two products and no bit depends on the grid. Shapes: x [T, inputs],
/// y [T, its outputs]; disjoint.
inline void linear_product(Context& context, base::MatView<const float> x,
                           const LinearWeights& weights, base::MatView<float> y,
                           kernels::Inputs inputs = kernels::Inputs::kAny) {
  const auto multiply_inputs =
      inputs == kernels::Inputs::kManyZero ? kernels::multiply_nonzero : kernels::multiply;
  if (weights.first.n_out() == 0) {
    multiply_inputs(context.pool, x, weights.matrix, y);
    return;
  }
  const base::MatView<float> inner = low_rank_rows(context, x.rows(), weights.first);
  multiply_inputs(context.pool, x, weights.first, inner);
  kernels::multiply(context.pool, inner, weights.matrix, y);
}

}  // namespace longreach::model
