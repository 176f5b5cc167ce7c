/// The products of linear layers, whose matrix may be two factors of low rank.
#pragma once

#include "kernels/matmul/matrix.hpp"
#include "model/blocks/column_split.hpp"
#include "model/context.hpp"

#include <cstddef>
#include <vector>

namespace longreach::model {

/// y = x W^T of this shard's outputs. Of a first factor every shard multiplies its panels of
/// outputs, which are made whole before they are multiplied by the second one. Shapes: x [T,
/// inputs], y [T, its outputs]; disjoint. Collective: all shards, if there are factors.
inline void linear_product(Context& context, base::MatView<const float> x,
                           const LinearWeights& weights, base::MatView<float> y,
                           kernels::Inputs inputs = kernels::Inputs::kAny) {
  const auto multiply_inputs =
      inputs == kernels::Inputs::kManyZero ? kernels::multiply_nonzero : kernels::multiply;
  if (!weights.has_factors(x.cols())) {
    multiply_inputs(context.pool, x, weights.matrix, y);
    return;
  }
  const std::size_t n_multiplied = weights.matrix.n_in();
  const base::MatView<float> inner(context.workspace.factored.first(x.rows()).data(), x.rows(),
                                   n_multiplied);
  const partition::Range own =
      columns_of(ColumnSplit::kPanels, n_multiplied, context.exchange.shard());
  multiply_inputs(context.pool, x, weights.first, inner.cols(own.begin, own.size()));
  all_gather_columns(context, ColumnSplit::kPanels, inner);
  kernels::multiply(context.pool, inner, weights.matrix, y);
}

/// Products that do not need each other's outputs: computed as one job, but for those of factored
/// matrices, which are computed when they are added.
class ProductGroup {
 public:
  explicit ProductGroup(Context& context) : context_(context) {}

  void add(base::MatView<const float> x, const kernels::PackedMatrix& matrix,
           base::MatView<float> y) {
    products_.push_back({x, &matrix, y});
  }
  /// Collective: all shards, if there are factors.
  void add(base::MatView<const float> x, const LinearWeights& weights, base::MatView<float> y) {
    if (weights.has_factors(x.cols())) {
      linear_product(context_, x, weights, y);
    } else {
      add(x, weights.matrix, y);
    }
  }
  /// Computes what was added since.
  void multiply() {
    kernels::multiply_all(context_.pool, products_);
    products_.clear();
  }

 private:
  Context& context_;
  std::vector<kernels::Product> products_;
};

}  // namespace longreach::model
