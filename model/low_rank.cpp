#include "model/low_rank.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/matrix_rows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace longreach::model {
namespace {

double sum_of_squares(std::span<const double> values) {
  double sum = 0;
  for (auto value = values.rbegin(); value != values.rend(); ++value) sum += *value * *value;
  return sum;
}

std::vector<double> read_matrix(const Tensor& matrix, std::size_t n_out, std::size_t n_in,
                                std::string_view name) {
  std::vector<double> numbers;
  numbers.reserve(n_out * n_in);
  std::vector<float> row(n_in);
  for (std::size_t o = 0; o < n_out; ++o) {
    read_row(matrix, o, row);
    for (const float number : row) {
      if (!std::isfinite(number)) {
        base::input_error("{}: expected finite numbers, found {}", name, number);
      }
    }
    numbers.insert(numbers.end(), row.begin(), row.end());
  }
  return numbers;
}

}  // namespace

std::size_t rank_for(std::span<const double> values, double energy) {
  const double may_be_lost = (1 - energy) * sum_of_squares(values);
  std::size_t rank = values.size();
  double lost = 0;
  while (rank > 1) {
    lost += values[rank - 1] * values[rank - 1];
    if (!(lost <= may_be_lost)) break;
    --rank;
  }
  return rank;
}

LowRankFactors low_rank_factors(const Tensor& matrix, std::string_view name, double energy,
                                const kernels::Lapack& lapack) {
  const std::size_t n_in = matrix.shape.back(), n_out = matrix.size() / n_in;
  const kernels::SingularValues svd =
      lapack.decompose(read_matrix(matrix, n_out, n_in, name), n_out, n_in);
  const std::span<const double> values = svd.values.span();
  LowRankFactors factors;
  factors.rank = rank_for(values, energy);
  const double all = sum_of_squares(values);
  if (all > 0) factors.error = std::sqrt(sum_of_squares(values.subspan(factors.rank)) / all);
  if (factors.rank * (n_out + n_in) >= n_out * n_in) return factors;
  for (std::size_t r = 0; r < factors.rank; ++r) {
    for (std::size_t i = 0; i < n_in; ++i) {
      factors.first.push_back(static_cast<float>(values[r] * svd.right[r * n_in + i]));
    }
  }
  for (std::size_t o = 0; o < n_out; ++o) {
    for (std::size_t r = 0; r < factors.rank; ++r) {
      factors.second.push_back(static_cast<float>(svd.left[o * values.size() + r]));
    }
  }
  const auto is_kept = [](float number) {
    return std::isfinite(base::to_float(base::to_bf16(number)));
  };
  if (!std::ranges::all_of(factors.first, is_kept)) {
    base::input_error("{}: its numbers are so large that bf16 cannot hold its factors", name);
  }
  return factors;
}

std::vector<ListedTensor> list_linear_layers(const ModelConfig& config) {
  std::vector<ListedTensor> list = list_tensors(config);
  std::erase_if(list, [](const ListedTensor& tensor) {
    return tensor.use != Use::kBlock || storage_of(tensor.spec.role) != Storage::kLinear ||
           tensor.spec.factor_rank != 0;
  });
  return list;
}

}  // namespace longreach::model
