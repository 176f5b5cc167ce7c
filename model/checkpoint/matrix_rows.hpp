/// Rows of a checkpoint's matrix where kernels can read them, whether they lie in a file, as
/// numbers or in blocks, or are made, and whether a product is added to them.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/packed_matrix.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/checkpoint/tensor.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <span>

namespace longreach::model {

/// A run of rows of a matrix: in place where its file is mapped, or made, or read from blocks, or
/// sums, for as long as this lives. The tensor must outlive it; dimensions of length 1 before the
/// last two do not count. Move-only.
class MatrixRows {
 public:
  /// Errors: std::bad_alloc.
  MatrixRows(const Tensor& matrix, partition::Range rows, kernels::ThreadPool& pool);

  /// The rows as outputs: of a layer stored (n_out, n_in).
  kernels::StridedMatrix rows_as_outputs() const { return view_; }
  /// The rows as inputs: of a factor stored (n_in, n_out).
  kernels::StridedMatrix rows_as_inputs() const;

 private:
  base::Buffer<base::Bf16> made_;
  base::Buffer<float> numbers_;  ///< From blocks, or sums.
  kernels::StridedMatrix view_;
};

/// Row `row` of a matrix as f32 (exact). Shape: (columns). What is added is summed in f32, over the
/// rank ascending, then added and rounded to the matrix's dtype: a file of these numbers gives the
/// same bits.
void read_row(const Tensor& matrix, std::size_t row, std::span<float> to);

}  // namespace longreach::model
