#include "kernels/matmul/bf16_terms.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/bf16_terms.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

using Words = hn::Rebind<std::uint32_t, Wide>;

/// Nearest bf16, ties to even, in the lower half of each lane; not for NaN.
HWY_INLINE hn::Vec<Words> nearest_bf16(hn::Vec<Wide> x) {
  const Words words;
  const auto bits = hn::BitCast(words, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1));
  return hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7fff))));
}

HWY_INLINE void store(hn::Vec<Words> bf16, base::Bf16* to) {
  const hn::Rebind<std::int32_t, Wide> ints;
  const hn::Rebind<std::uint16_t, Wide> halves;
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(ints, bf16)), halves,
             reinterpret_cast<std::uint16_t*>(to));
}

HWY_INLINE void block_to_terms(const float* x, std::size_t row, TermBlock& block) {
  const Wide d;
  const Words words;
  for (std::size_t i = 0; i < kScaleBlock; i += kLanes) {
    const auto whole = hn::LoadU(d, x + i);
    const auto first = nearest_bf16(whole);
    const auto rest = hn::Sub(whole, hn::BitCast(d, hn::ShiftLeft<16>(first)));
    // What is not finite leaves NaN.
    const auto is_nan = hn::RebindMask(words, hn::IsNaN(rest));
    const auto second = hn::IfThenElse(is_nan, hn::Set(words, 0x7fc0), nearest_bf16(rest));
    store(first, &block.terms[0][row][i]);
    store(second, &block.terms[1][row][i]);
  }
}

void row_to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock> blocks) {
  const std::size_t n_whole = x.size() / kScaleBlock;
  for (std::size_t b = 0; b < n_whole; ++b) {
    block_to_terms(x.data() + b * kScaleBlock, row, blocks[b]);
  }
  if (const std::size_t rest = x.size() % kScaleBlock; rest != 0) {
    HWY_ALIGN float padded[kScaleBlock] = {};
    std::memcpy(padded, x.data() + n_whole * kScaleBlock, rest * sizeof(float));
    block_to_terms(padded, row, blocks[n_whole]);
  }
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(row_to_terms);

}  // namespace

void to_terms(std::span<const float> x, std::size_t row, std::span<TermBlock> blocks) noexcept {
  LR_DCHECK(row < TermBlock::kRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock);
  HWY_DYNAMIC_DISPATCH(row_to_terms)(x, row, blocks);
}

}  // namespace longreach::kernels
#endif
