/// Matrices of linear layers as products of two factors of low rank, to make a model smaller. Used
/// by launch/commands/convert.
#pragma once

#include "kernels/decomposition/singular_values.hpp"
#include "model/checkpoint/tensor.hpp"
#include "model/schema/tensors.hpp"

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace longreach::model {

/// The least rank, 1 at least, whose singular values have that share of the sum of all squares.
/// `values` are descending. What is left out is summed from its least on, so that a share next to 1
/// is kept as exactly as numbers of double allow.
std::size_t rank_for(std::span<const double> values, double energy);

/// W (n_out, n_in) as B A.
struct LowRankFactors {
  std::size_t rank = 0;       ///< That the energy asks for.
  double error = 0;           ///< |W - B A| / |W| by the singular values, Frobenius norm.
  std::vector<float> first;   ///< A (rank, n_in): the right singular vectors times their values.
  std::vector<float> second;  ///< B (n_out, rank): the left singular vectors.
  bool saves() const { return !first.empty(); }
};

/// The factors of a matrix, of which no product with fewer numbers is nearer to it; none, beside
/// their rank, if they have as many numbers as the matrix or more. The second factor's columns are
/// all of length 1, so that weights in blocks of its inputs lose little; of the first one each row
/// is scaled by itself anyway. Shapes: matrix (n_out, n_in), dimensions of length 1 before these do
/// not count. `name` is for messages. Errors: InputError for a number that is not finite, or
/// factors that bf16 cannot hold; std::bad_alloc.
LowRankFactors low_rank_factors(const Tensor& matrix, std::string_view name, double energy,
                                const kernels::Lapack& lapack);

/// The matrices that may become factors: those of linear layers of blocks that are executed and
/// that are not factors already. In the order of execution.
std::vector<ListedTensor> list_linear_layers(const ModelConfig& config);

}  // namespace longreach::model
