/// Products with weights of few bits for instructions that multiply bytes and sum four products at
/// a time: what they take, and what becomes of the sums they leave. An activation's code of 16 bits
/// (block_product.hpp) is 256 * high + low, so a block's sum is 256 * (sum of high * w code) + (sum
/// of low * w code). All of this is exact, and so the bits are those of the other block_product.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace longreach::kernels {

/// kScaleBlock activations of some rows: scale * (256 * high + low).
struct alignas(64) ByteBlock {
  static constexpr std::size_t kRows = 16;
  std::array<float, kRows> scales;
  std::array<std::array<std::int8_t, kScaleBlock>, kRows> high;
  std::array<std::array<std::uint8_t, kScaleBlock>, kRows> low;
};

/// Activations of many rows, [ceil(rows / ByteBlock::kRows), blocks of inputs].
using ByteRows = base::MatView<const ByteBlock>;

/// A block of weights: codes[f][c] are those of inputs 4 f .. 4 f + 3 of column c.
struct alignas(64) ByteWeights {
  std::array<base::Bf16, kPanelCols> scales;
  std::array<std::array<std::array<std::int8_t, 4>, kPanelCols>, kScaleBlock / 4> codes;
};

/// Sums over a block of inputs, of products with high and with low bytes: [row][column].
struct alignas(64) ByteSums {
  std::array<std::array<std::int32_t, kPanelCols>, ByteBlock::kRows> high, low;
};

/// Outputs of as many rows and columns: [row][column].
struct alignas(64) ByteOutputs {
  std::array<std::array<float, kPanelCols>, ByteBlock::kRows> y;
};

/// Writes x as row `row` of a group: the codes and scales of to_fixed().
/// Shapes:   blocks ceil(x.size() / kScaleBlock).
/// Threads:  single-threaded, re-entrant.          Allocates: no
void to_bytes(std::span<const float> x, std::size_t row, std::span<ByteBlock> blocks) noexcept;

/// The same with those of to_small_fixed().
void to_small_bytes(std::span<const float> x, std::size_t row,
                    std::span<ByteBlock> blocks) noexcept;

/// The same weights, a byte each. Threads: single-threaded, re-entrant.        Allocates: no
void unpack(const Int8Block& block, ByteWeights& weights) noexcept;
void unpack(const Int4Block& block, ByteWeights& weights) noexcept;

/// y[r][c] += float(256 * high[r][c] + low[r][c]) * (x scale of r * w scale of c) for the first
/// n_rows rows, in the form and with the bits of block_product().
/// Threads:  single-threaded, re-entrant.          Allocates: no
void add_sums(const ByteSums& sums, const ByteBlock& x, const ByteWeights& weights,
              std::size_t n_rows, ByteOutputs& outputs) noexcept;

}  // namespace longreach::kernels
