/// Activations as sums of two bf16, which instructions for bf16 can multiply.
#pragma once

#include "kernels/base/types.hpp"
#include "kernels/base/view.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <array>
#include <cstddef>
#include <span>

namespace longreach::kernels {

/// Rows whose activations lie together.
inline constexpr std::size_t kTermRows = 16;

/// kScaleBlock activations of some rows, each the sum of one or two terms: [term][row][input].
template <std::size_t kTerms>
struct alignas(64) TermBlock {
  static constexpr std::size_t kRows = kTermRows;
  std::array<std::array<std::array<base::Bf16, kScaleBlock>, kRows>, kTerms> terms;
};

/// Activations of many rows, [ceil(rows / kTermRows), blocks of inputs].
template <std::size_t kTerms>
using TermRows = base::MatView<const TermBlock<kTerms>>;

/// Writes x as row `row` of a group: the nearest bf16, ties to even; inputs beyond x are 0.
/// |error| <= 2^-8 |x| + 2^-134. NaN stays NaN.
/// Shapes:   blocks ceil(x.size() / kScaleBlock).
/// Threads:  single-threaded, re-entrant.          Allocates: no
void to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock<1>> blocks) noexcept;

/// The same, and the nearest bf16 of what that leaves. |error| <= 2^-17 |x| + 2^-134. What is
/// infinite, NaN or rounds to infinity becomes terms whose sum is NaN.
void to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock<2>> blocks) noexcept;

}  // namespace longreach::kernels
