/// The products of linear layers, whose matrix may be two factors of low rank.
#pragma once

#include "kernels/matmul/matrix.hpp"
#include "model/blocks/column_split.hpp"
#include "model/context.hpp"

#include <cstddef>

namespace longreach::model {

/// Room for what a first factor gives, [n_rows, rank]; the next call takes it again.
inline base::MatView<float> low_rank_rows(Context& context, std::size_t n_rows, std::size_t rank) {
  return {context.workspace.low_rank.first(n_rows).data(), n_rows, rank};
}

/// y = x W^T of this shard's outputs. Of a first factor every shard multiplies its panels of
/// outputs, which are made whole before they are multiplied by the second one. Shapes: x [T,
/// inputs], y [T, its outputs]; disjoint. Collective: all shards, if there are factors.
inline void linear_product(Context& context, base::MatView<const float> x,
                           const LinearWeights& weights, base::MatView<float> y,
                           kernels::Inputs inputs = kernels::Inputs::kAny) {
  const auto multiply_inputs =
      inputs == kernels::Inputs::kManyZero ? kernels::multiply_nonzero : kernels::multiply;
  const std::size_t n_multiplied = weights.matrix.n_in();
  if (n_multiplied == x.cols()) {  // the ranks of factors are less (schema/config)
    multiply_inputs(context.pool, x, weights.matrix, y);
    return;
  }
  const base::MatView<float> inner = low_rank_rows(context, x.rows(), n_multiplied);
  const partition::Range own =
      columns_of(ColumnSplit::kPanels, n_multiplied, context.exchange.shard());
  multiply_inputs(context.pool, x, weights.first, inner.cols(own.begin, own.size()));
  all_gather_columns(context, ColumnSplit::kPanels, inner);
  kernels::multiply(context.pool, inner, weights.matrix, y);
}

}  // namespace longreach::model
