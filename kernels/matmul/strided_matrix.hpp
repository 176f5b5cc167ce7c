/// A matrix somewhere in memory, for example in a file that is mapped, and how its numbers become
/// blocks of a panel. Used by kernels/matmul/packed_matrix.
#pragma once

#include "kernels/base/types.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <cstddef>

namespace longreach::kernels {

/// A matrix (n_out, n_in) somewhere in memory, possibly unaligned: element (o, i) lies at
/// data + (o * out_stride + i * in_stride) * size_of(dtype).
struct StridedMatrix {
  const std::byte* data = nullptr;
  base::DType dtype = base::DType::kF32;
  std::size_t n_out = 0, n_in = 0;
  std::size_t out_stride = 0, in_stride = 0;  ///< In elements.

  /// The element as f32 (exact).
  float at(std::size_t o, std::size_t i) const;
  /// `count` outputs from `first` on.
  StridedMatrix outputs(std::size_t first, std::size_t count) const;
  /// Outputs as inputs, and the other way round.
  StridedMatrix transposed() const { return {data, dtype, n_in, n_out, in_stride, out_stride}; }
};

/// Inputs first_k .. of outputs 0 .. of a matrix as f32 (exact); zeros for what lies outside it. It
/// is fast where outputs or inputs lie side by side.
void read_block(const StridedMatrix& source, std::size_t first_k, BlockWeights& weights) noexcept;

}  // namespace longreach::kernels
