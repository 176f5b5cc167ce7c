#include "model/checkpoint/matrix_rows.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <vector>

namespace longreach::model {
namespace {

/// The rows of a matrix of a file, as they lie there.
kernels::StridedMatrix in_place(const Tensor& matrix, partition::Range rows) {
  const std::size_t row_stride = matrix.strides[matrix.strides.size() - 2];
  const std::size_t offset = rows.begin * row_stride * size_of(matrix.dtype);
  return {matrix.data + offset, matrix.dtype, rows.size(),
          matrix.shape.back(),  row_stride,   matrix.strides.back()};
}

float rounded_to(base::DType dtype, float number) {
  switch (dtype) {
    case base::DType::kF32:
      return number;
    case base::DType::kBf16:
      return base::to_float(base::to_bf16(number));
    case base::DType::kF16:
      return base::half_to_float(base::to_half(number));
  }
  return number;
}

/// Adds row `row` of a product to that of a matrix.
void add_row(const LowRankProduct& product, std::size_t row, base::DType dtype,
             std::span<float> to) {
  std::vector<float> sums(to.size());
  for (std::size_t k = 0; k < product.rank; ++k) {
    const float factor = product.second[row * product.rank + k];
    const float* const first = product.first.data() + k * to.size();
    for (std::size_t c = 0; c < to.size(); ++c) sums[c] += factor * first[c];
  }
  for (std::size_t c = 0; c < to.size(); ++c) {
    to[c] = rounded_to(dtype, to[c] + product.scale * sums[c]);
  }
}

/// A row without what is added.
void read_row_alone(const Tensor& matrix, std::size_t row, std::span<float> to) {
  if (matrix.blocks && matrix.strides.back() == 1) {
    const std::size_t row_stride = matrix.strides[matrix.strides.size() - 2];
    read_numbers(*matrix.blocks, matrix.data, row * row_stride, to);
    return;
  }
  if (matrix.made || matrix.blocks) {
    for (std::size_t c = 0; c < to.size(); ++c) to[c] = matrix.at(row * to.size() + c);
    return;
  }
  const kernels::StridedMatrix numbers = in_place(matrix, {row, row + 1});
  for (std::size_t c = 0; c < to.size(); ++c) to[c] = numbers.at(0, c);
}

}  // namespace

MatrixRows::MatrixRows(const Tensor& matrix, std::size_t most_rows) : matrix_(&matrix) {
  LR_CHECK(!matrix.packed);
  if (!matrix.made && !matrix.blocks && matrix.added == nullptr) return;
  numbers_ = base::Buffer<float>(most_rows * matrix.shape.back());
}

kernels::StridedMatrix MatrixRows::read(partition::Range rows) {
  if (numbers_.size() == 0) return in_place(*matrix_, rows);
  const std::size_t n_cols = matrix_->shape.back();
  LR_DCHECK(rows.size() * n_cols <= numbers_.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    read_row(*matrix_, rows.begin + i, numbers_.span().subspan(i * n_cols, n_cols));
  }
  return {reinterpret_cast<const std::byte*>(numbers_.data()),
          base::DType::kF32,
          rows.size(),
          n_cols,
          n_cols,
          1};
}

void read_row(const Tensor& matrix, std::size_t row, std::span<float> to) {
  read_row_alone(matrix, row, to);
  if (matrix.added != nullptr) add_row(*matrix.added, row, matrix.dtype, to);
}

}  // namespace longreach::model
