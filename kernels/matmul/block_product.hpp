/// Products with weights of few bits. Activations become 16-bit integers with a scale for each
/// block of inputs, so that what is summed within a block is whole numbers, in which no order of
/// additions can be seen; blocks are added in order, in f32.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/matrix.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace longreach::kernels {

/// Rows whose activations lie together.
inline constexpr std::size_t kFixedRows = 6;

/// kScaleBlock activations of a few rows: scale * code, codes -32767 .. 32767.
struct alignas(64) FixedBlock {
  static constexpr std::size_t kRows = kFixedRows;
  std::array<float, kFixedRows> scales;
  alignas(64) std::array<std::array<std::int16_t, kScaleBlock>, kFixedRows> codes;
};

/// Activations of many rows, [ceil(rows / kFixedRows), blocks of inputs].
using FixedRows = base::MatView<const FixedBlock>;

/// Writes x as row `row` of a group. Each number becomes the nearest scale * code, scale = the
/// block's largest magnitude / 32767; inputs beyond x are 0. |error| <= scale / 2 + rounding. A
/// block that holds a number that is not finite becomes NaN.
/// Shapes:   blocks ceil(x.size() / kScaleBlock).
/// Threads:  single-threaded, re-entrant.          Allocates: no
void to_fixed(std::span<const float> x, std::size_t row, std::span<FixedBlock> blocks) noexcept;

/// The same with codes -127 .. 127, scale = the largest magnitude / 127: activations in int8.
void to_small_fixed(std::span<const float> x, std::size_t row,
                    std::span<FixedBlock> blocks) noexcept;

/// y[r][c] = sum over blocks b ascending of float(sum over k in b of x code * w code) * (x scale *
/// w scale), one fused multiply-add a block (plain multiply and add on paths without them).
/// Shapes:   y [rows, n]: all n columns are written, from ceil(n / 32) panels of x.cols() blocks;
///           panel p begins at data + p * panel_stride.
/// Numerics: the inner sum is exact.       Threads: single-threaded, re-entrant.      Allocates: no
void block_product(const FixedRows& x, const Int8Block* data, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;
void block_product(const FixedRows& x, const Int4Block* data, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;

}  // namespace longreach::kernels
