// How rows of activations become what weights in blocks are multiplied by; see simd-inl.hpp.
#if defined(LONGREACH_KERNELS_BLOCKS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGREACH_KERNELS_BLOCKS_INL
#undef LONGREACH_KERNELS_BLOCKS_INL
#else
#define LONGREACH_KERNELS_BLOCKS_INL
#endif

#include "kernels/base/types.hpp"

#include <hwy/highway.h>

#include <cstddef>
#include <cstring>
#include <span>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

/// Calls body(b, numbers) with the kScaleBlock numbers of each block; those beyond x are 0.
template <class Body>
HWY_INLINE void for_blocks(std::span<const float> x, Body&& body) {
  const std::size_t n_whole = x.size() / base::kScaleBlock;
  for (std::size_t b = 0; b < n_whole; ++b) body(b, x.data() + b * base::kScaleBlock);
  if (const std::size_t rest = x.size() % base::kScaleBlock; rest != 0) {
    HWY_ALIGN float padded[base::kScaleBlock] = {};
    std::memcpy(padded, x.data() + n_whole * base::kScaleBlock, rest * sizeof(float));
    body(n_whole, padded);
  }
}

/// Nearest bf16, ties to even, in the lower half of each lane; not for NaN.
HWY_INLINE hn::Vec<hn::RebindToUnsigned<Wide>> nearest_bf16(hn::Vec<Wide> x) {
  const hn::RebindToUnsigned<Wide> words;
  const auto bits = hn::BitCast(words, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1));
  return hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7fff))));
}

/// The same with NaN for NaN.
HWY_INLINE hn::Vec<hn::RebindToUnsigned<Wide>> nearest_bf16_or_nan(hn::Vec<Wide> x) {
  const hn::RebindToUnsigned<Wide> words;
  return hn::IfThenElse(hn::RebindMask(words, hn::IsNaN(x)), hn::Set(words, 0x7fc0),
                        nearest_bf16(x));
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
