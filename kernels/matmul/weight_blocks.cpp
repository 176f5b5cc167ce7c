#include "kernels/matmul/weight_blocks.hpp"

#include <cmath>

namespace longreach::kernels {
namespace {

/// One number for each column.
using Row = std::array<float, kPanelCols>;

/// The weight of largest magnitude of each column, with its sign; NaN if one is not finite.
Row extremes(const BlockWeights& weights) {
  Row extreme{}, poison{};
  for (const Row& row : weights) {
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      extreme[c] = std::abs(row[c]) > std::abs(extreme[c]) ? row[c] : extreme[c];
      poison[c] += row[c] * 0;  // stays 0 for finite numbers, else becomes NaN
    }
  }
  for (std::size_t c = 0; c < kPanelCols; ++c) extreme[c] += poison[c];
  return extreme;
}

/// Scales such that the extremes have the code `code`, rounded as they are kept.
Row make_scales(const Row& extremes, float code, std::array<base::Bf16, kPanelCols>& kept) {
  Row scales;
  for (std::size_t c = 0; c < kPanelCols; ++c) {
    kept[c] = base::to_bf16(extremes[c] / code);
    scales[c] = base::to_float(kept[c]);
  }
  return scales;
}

/// The nearest code. Divides, as the inverse of a tiny scale overflows. Where the scale is 0 or NaN
/// any code does: that is the lowest one, or the highest.
int nearest_code(float weight, float scale, float lowest, float highest) {
  constexpr float kRound = 0x1.8p23F;  // adding it leaves no bits behind the point
  float code = weight / scale;
  code = code > lowest ? code : lowest;
  code = code < highest ? code : highest;
  return static_cast<int>((code + kRound) - kRound);
}

}  // namespace

void quantize(const BlockWeights& weights, Int8Block& block) {
  constexpr float kLimit = 127;
  Row largest = extremes(weights);
  for (float& x : largest) x = std::abs(x);
  const Row scales = make_scales(largest, kLimit, block.scales);
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      const int code = nearest_code(weights[k][c], scales[c], -kLimit, kLimit);
      block.codes[k / 2][c][k % 2] = static_cast<std::int8_t>(code);
    }
  }
}

void quantize(const BlockWeights& weights, Int4Block& block) {
  // The largest weight gets the code that has no counterpart, so all sixteen are used.
  constexpr float kLowest = -8, kHighest = 7;
  const Row scales = make_scales(extremes(weights), kLowest, block.scales);
  block.codes = {};
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      const int code = nearest_code(weights[k][c], scales[c], kLowest, kHighest);
      block.codes[k / 8][c][k % 2] |= static_cast<std::uint16_t>((code & 0xf) << (k % 8 / 2 * 4));
    }
  }
}

}  // namespace longreach::kernels
