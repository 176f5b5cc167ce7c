#include "kernels/matmul/bf16_terms.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/bf16_terms.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/matmul/blocks-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

HWY_INLINE void block_to_terms(const float* x, std::size_t row, TermBlock<1>& block) {
  for (std::size_t i = 0; i < kScaleBlock; i += kLanes) {
    store_bf16(nearest_bf16_or_nan(hn::LoadU(Wide(), x + i)), &block.terms[0][row][i]);
  }
}

HWY_INLINE void block_to_terms(const float* x, std::size_t row, TermBlock<2>& block) {
  const Wide d;
  for (std::size_t i = 0; i < kScaleBlock; i += kLanes) {
    const auto whole = hn::LoadU(d, x + i);
    const auto first = nearest_bf16(whole);
    const auto rest = hn::Sub(whole, hn::BitCast(d, hn::ShiftLeft<16>(first)));
    // What is not finite leaves NaN.
    store_bf16(first, &block.terms[0][row][i]);
    store_bf16(nearest_bf16_or_nan(rest), &block.terms[1][row][i]);
  }
}

template <std::size_t kTerms>
HWY_INLINE void row_to_terms(std::span<const float> x, std::size_t row,
                             std::span<TermBlock<kTerms>> blocks) {
  for_blocks(x, [&](std::size_t b, const float* block) { block_to_terms(block, row, blocks[b]); });
}

void row_to_one_term(std::span<const float> x, std::size_t row, std::span<TermBlock<1>> blocks) {
  row_to_terms(x, row, blocks);
}

void row_to_two_terms(std::span<const float> x, std::size_t row, std::span<TermBlock<2>> blocks) {
  row_to_terms(x, row, blocks);
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(row_to_one_term);
HWY_EXPORT(row_to_two_terms);

template <std::size_t kTerms>
bool has_room(std::span<const float> x, std::size_t row, std::span<TermBlock<kTerms>> blocks) {
  return row < kTermRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock;
}

}  // namespace

void to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock<1>> blocks) noexcept {
  LR_DCHECK(has_room(x, row, blocks));
  HWY_DYNAMIC_DISPATCH(row_to_one_term)(x, row, blocks);
}

void to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock<2>> blocks) noexcept {
  LR_DCHECK(has_room(x, row, blocks));
  HWY_DYNAMIC_DISPATCH(row_to_two_terms)(x, row, blocks);
}

}  // namespace longreach::kernels
#endif
