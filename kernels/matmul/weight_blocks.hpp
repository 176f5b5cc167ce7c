/// Weights in blocks of 32 inputs by the 32 columns of a panel: those of few bits, each column of a
/// block with one scale, and, without scales, bf16 for instructions that take pairs of inputs.
/// weight-formats.md describes the bytes.
#pragma once

#include "kernels/base/types.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace longreach::kernels {

/// Output columns of a panel.
inline constexpr std::size_t kPanelCols = 32;

using base::kScaleBlock;

/// Weights of a block before they lose bits: [input][column].
using BlockWeights = std::array<std::array<float, kPanelCols>, kScaleBlock>;

/// 8 bits: -127 .. 127. codes[p][c] are those of inputs 2 p and 2 p + 1 of column c.
struct alignas(64) Int8Block {
  std::array<base::Bf16, kPanelCols> scales;
  std::array<std::array<std::array<std::int8_t, 2>, kPanelCols>, kScaleBlock / 2> codes;
};

/// bf16: weights[p][c] are those of inputs 2 p and 2 p + 1 of column c, in this order for AMX only.
struct alignas(64) Bf16Block {
  std::array<std::array<std::array<base::Bf16, 2>, kPanelCols>, kScaleBlock / 2> weights;
};

/// 4 bits: -8 .. 7. codes[g][c][h] holds those of inputs 8 g + h + 0, 2, 4, 6 of column c, the
/// first one in the lowest four bits.
struct alignas(64) Int4Block {
  std::array<base::Bf16, kPanelCols> scales;
  std::array<std::array<std::array<std::uint16_t, 2>, kPanelCols>, kScaleBlock / 8> codes;
};

static_assert(sizeof(Bf16Block) == base::column_bytes(base::WeightFormat::kBf16, 32) * kPanelCols);
static_assert(sizeof(Int8Block) == base::column_bytes(base::WeightFormat::kInt8, 32) * kPanelCols);
static_assert(sizeof(Int4Block) == base::column_bytes(base::WeightFormat::kInt4, 32) * kPanelCols);

/// Each weight as the nearest scale * code of its column. |error| <= |scale| / 2 + 2^-126, for int4
/// (1 + 2^-5) |scale| for what lies beyond 7.5 steps on the side away from the largest weight, as
/// the scale is rounded to bf16. A column that holds a number that is not finite becomes NaN.
void quantize(const BlockWeights& weights, Int8Block& block) noexcept;
void quantize(const BlockWeights& weights, Int4Block& block) noexcept;

/// Where the first input of a pair lies.
enum class PairOrder {
  kFirstBelow,  ///< In the lower half of a word: as AMX takes them.
  kFirstAbove,  ///< In the upper half: vectors add the product with that one first.
};

/// Each weight as the nearest bf16.
void write_pairs(const BlockWeights& weights, PairOrder order, Bf16Block& block) noexcept;

/// The first n_k inputs as f32 or the nearest bf16, `k_stride` numbers apart. Returns whether all
/// that was written is finite.
bool write_steps(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride,
                 float* to) noexcept;
bool write_steps(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride,
                 base::Bf16* to) noexcept;

/// The code of one weight.
inline int code_of(const Int8Block& block, std::size_t input, std::size_t col) {
  return block.codes[input / 2][col][input % 2];
}
inline int code_of(const Int4Block& block, std::size_t input, std::size_t col) {
  const int nibble = block.codes[input / 8][col][input % 2] >> (input % 8 / 2 * 4) & 0xf;
  return nibble < 8 ? nibble : nibble - 16;
}

}  // namespace longreach::kernels
