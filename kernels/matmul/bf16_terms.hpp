/// Activations as sums of two bf16, which instructions for bf16 can multiply.
#pragma once

#include "kernels/base/types.hpp"
#include "kernels/base/view.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <array>
#include <cstddef>
#include <span>

namespace longreach::kernels {

/// kScaleBlock activations of some rows, each the sum of two terms: [term][row][input].
struct alignas(64) TermBlock {
  static constexpr std::size_t kRows = 16;
  std::array<std::array<std::array<base::Bf16, kScaleBlock>, kRows>, 2> terms;
};

/// Activations of many rows, [ceil(rows / TermBlock::kRows), blocks of inputs].
using TermRows = base::MatView<const TermBlock>;

/// Writes x as row `row` of a group: the nearest bf16, and the nearest bf16 of what that leaves.
/// |error| <= 2^-17 |x| + 2^-134; inputs beyond x are 0. What is infinite, NaN or rounds to
/// infinity becomes terms whose sum is NaN.
/// Shapes:   blocks ceil(x.size() / kScaleBlock).
/// Threads:  single-threaded, re-entrant.          Allocates: no
void to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock> blocks) noexcept;

}  // namespace longreach::kernels
