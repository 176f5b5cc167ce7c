/// Rows of a checkpoint's matrix where kernels can read them, whether they lie in a file, as
/// numbers or in blocks, or are made, and whether a product is added to them.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/strided_matrix.hpp"
#include "model/checkpoint/tensor.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <span>

namespace longreach::model {

/// Gives runs of rows of a matrix: in place where its file is mapped, or as f32 in memory of its
/// own, if they are made, read from blocks, or sums. The tensor must outlive it; dimensions of
/// length 1 before the last two do not count. Move-only.
class MatrixRows {
 public:
  /// Errors: std::bad_alloc.
  MatrixRows(const Tensor& matrix, std::size_t most_rows);

  /// At most so many rows, as outputs; they stay until the next call.
  kernels::StridedMatrix read(partition::Range rows);

 private:
  const Tensor* matrix_;
  base::Buffer<float> numbers_;  ///< Empty for rows in place.
};

/// Row `row` of a matrix as f32 (exact). Shape: (columns). What is added is summed in f32, over the
/// rank ascending, then added and rounded to the matrix's dtype: a file of these numbers gives the
/// same bits.
void read_row(const Tensor& matrix, std::size_t row, std::span<float> to);

}  // namespace longreach::model
