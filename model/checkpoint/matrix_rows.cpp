#include "model/checkpoint/matrix_rows.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

/// The rows of a matrix of a file, as they lie there.
kernels::StridedMatrix in_place(const Tensor& matrix, partition::Range rows) {
  const std::size_t row_stride = matrix.strides[matrix.strides.size() - 2];
  const std::size_t offset = rows.begin * row_stride * size_of(matrix.dtype);
  return {matrix.data + offset, matrix.dtype, rows.size(),
          matrix.shape.back(),  row_stride,   matrix.strides.back()};
}

}  // namespace

MatrixRows::MatrixRows(const Tensor& matrix, partition::Range rows, kernels::ThreadPool& pool) {
  if (!matrix.made) {
    view_ = in_place(matrix, rows);
    return;
  }
  const std::size_t n_cols = matrix.shape.back();
  made_ = base::Buffer<base::Bf16>(rows.size() * n_cols, base::Pages::kLarge);
  pool.for_each(rows.size(), [&](std::size_t i, std::size_t) {
    const std::size_t first = (rows.begin + i) * n_cols;
    for (std::size_t c = 0; c < n_cols; ++c) {
      made_[i * n_cols + c] = base::to_bf16(matrix.made->at(first + c));
    }
  });
  view_ = {reinterpret_cast<const std::byte*>(made_.data()),
           base::DType::kBf16,
           rows.size(),
           n_cols,
           n_cols,
           1};
}

kernels::StridedMatrix MatrixRows::rows_as_inputs() const {
  kernels::StridedMatrix transposed = view_;
  std::swap(transposed.n_out, transposed.n_in);
  std::swap(transposed.out_stride, transposed.in_stride);
  return transposed;
}

void read_row(const Tensor& matrix, std::size_t row, std::span<float> to) {
  if (matrix.made) {
    for (std::size_t c = 0; c < to.size(); ++c) to[c] = matrix.at(row * to.size() + c);
    return;
  }
  const kernels::StridedMatrix numbers = in_place(matrix, {row, row + 1});
  for (std::size_t c = 0; c < to.size(); ++c) to[c] = numbers.at(0, c);
}

}  // namespace longreach::model
