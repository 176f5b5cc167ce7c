/// Products of activations that were rounded to bf16 or to bytes, by AVX-512's instructions for
/// pairs of bf16 and for four bytes at a time. Other paths have the same sums from the kernels for
/// activations in f32, rounded first.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/matrix.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace longreach::kernels {

/// kScaleBlock activations of a few rows: [row][pair], input 2 p of pair p in the upper half, as
/// the instruction adds the product of the upper halves first.
struct alignas(64) PairBlock {
  static constexpr std::size_t kRows = 6;
  std::array<std::array<std::uint32_t, kScaleBlock / 2>, kRows> pairs;
};
using PairRows = base::MatView<const PairBlock>;

/// kScaleBlock activations of a few rows: scale * code, codes -127 .. 127. Of inputs 8 g .. 8 g + 7
/// the codes of 0, 4, 1, 5 are bytes of fours[row][2 g], from the lowest on, and those of 2, 6, 3,
/// 7 of fours[row][2 g + 1]: so blocks of both kinds of weights come by least work.
struct alignas(64) FourBlock {
  static constexpr std::size_t kRows = 6;
  std::array<float, kRows> scales;
  std::array<std::int32_t, kRows> minus_sums;  ///< Of a row's codes.
  alignas(64) std::array<std::array<std::int32_t, kScaleBlock / 4>, kRows> fours;
};
using FourRows = base::MatView<const FourBlock>;

/// Each number as the nearest bf16, ties to even; NaN stays NaN. Shapes: equal.
void round_to_bf16(std::span<const float> x, std::span<float> rounded) noexcept;

/// Writes x as row `row` of a group: each number as the nearest bf16, ties to even. NaN stays NaN;
/// inputs beyond x are 0.
/// Shapes:   blocks ceil(x.size() / kScaleBlock).
/// Requires: uses_bf16_pairs().    Threads: single-threaded, re-entrant.        Allocates: no
void to_pairs(std::span<const float> x, std::size_t row, std::span<PairBlock> blocks) noexcept;

/// Writes x as row `row` of a group: the codes and scales of to_small_fixed() (block_product.hpp).
/// Shapes:   blocks ceil(x.size() / kScaleBlock).
/// Requires: uses_vnni().          Threads: single-threaded, re-entrant.        Allocates: no
void to_fours(std::span<const float> x, std::size_t row, std::span<FourBlock> blocks) noexcept;

/// y[r][c] = sum over k of x[r][k] * w[k][c], k ascending, one fused multiply-add a step, numbers
/// below 2^-126 counting as zero. Source: Intel's description of VDPBF16PS.
/// Shapes:   y [rows, n]: all n columns are written, from ceil(n / 32) panels of x.cols() blocks;
///           panel p begins at panels + p * panel_stride; x has the rows of y.
/// Requires: uses_bf16_pairs().    Threads: single-threaded, re-entrant.        Allocates: no
void block_product(const PairRows& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;

/// The sums of the block_product() of block_product.hpp, by whole numbers of fewer bits. Source:
/// Intel's description of VPDPBUSD.
/// Shapes:   as above.
/// Requires: uses_vnni().          Threads: single-threaded, re-entrant.        Allocates: no
void block_product(const FourRows& x, const Int8Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;
void block_product(const FourRows& x, const Int4Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;

/// Rows and steps of a rounded_panel_product(), at most.
inline constexpr std::size_t kRoundedRows = 12, kRoundedSteps = 256;

/// panel_product() (matrix.hpp) of the nearest bf16 of x, ties to even; NaN stays NaN. By the
/// instruction for pairs, where there is one, numbers below 2^-126 count as zero.
/// Threads: single-threaded, re-entrant.        Allocates: no
void rounded_panel_product(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                           base::MatView<float> y, Start start) noexcept;
void rounded_panel_product(base::MatView<const float> x, const Panels<std::int8_t>& panels,
                           base::MatView<float> y, Start start) noexcept;

}  // namespace longreach::kernels
