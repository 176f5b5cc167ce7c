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
#include <cstdint>
#include <cstring>
#include <limits>
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

/// A block's numbers as the nearest codes -kMost .. kMost, times a scale, which it returns: the
/// largest magnitude / kMost, or NaN if a number is not finite.
template <int kMost>
HWY_INLINE float block_codes(
    const float* x, hn::Vec<hn::RebindToSigned<Wide>> (&codes)[base::kScaleBlock / kLanes]) {
  constexpr float kLimit = kMost;
  const Wide d;
  auto largest = hn::Zero(d), poison = hn::Zero(d);  // poison becomes NaN by what is not finite
  for (std::size_t i = 0; i < base::kScaleBlock; i += kLanes) {
    const auto now = hn::LoadU(d, x + i);
    largest = hn::Max(largest, hn::Abs(now));
    poison = hn::MulAdd(now, hn::Zero(d), poison);
  }
  const bool is_finite = hn::AllTrue(d, hn::Eq(poison, hn::Zero(d)));
  const float scale = is_finite ? hn::GetLane(hn::MaxOfLanes(d, largest)) / kLimit
                                : std::numeric_limits<float>::quiet_NaN();
  // A block of zeros divides by anything; the bounds are for scales that are rounded or NaN.
  const auto divisor = hn::Set(d, scale > 0 ? scale : 1);
  for (std::size_t v = 0; v < base::kScaleBlock / kLanes; ++v) {
    auto code = hn::Div(hn::LoadU(d, x + v * kLanes), divisor);
    code = hn::Min(hn::Max(code, hn::Set(d, -kLimit)), hn::Set(d, kLimit));
    codes[v] = hn::NearestInt(code);
  }
  return scale;
}

/// Nearest bf16, ties to even, in the lower half of each lane; not for NaN.
template <class V>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<hn::DFromV<V>>> nearest_bf16(V x) {
  const hn::RebindToUnsigned<hn::DFromV<V>> words;
  const auto bits = hn::BitCast(words, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1));
  return hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7fff))));
}

/// The same with NaN for NaN: base::to_bf16.
template <class V>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<hn::DFromV<V>>> nearest_bf16_or_nan(V x) {
  const hn::RebindToUnsigned<hn::DFromV<V>> words;
  const auto nan = hn::Or(hn::ShiftRight<16>(hn::BitCast(words, x)), hn::Set(words, 0x40));
  return hn::IfThenElse(hn::RebindMask(words, hn::IsNaN(x)), nan, nearest_bf16(x));
}

/// Stores bf16 that lie in the lower half of each lane.
HWY_INLINE void store_bf16(hn::Vec<hn::RebindToUnsigned<Wide>> bf16, base::Bf16* to) {
  const hn::Rebind<std::int32_t, Wide> ints;
  const hn::Rebind<std::uint16_t, Wide> halves;
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(ints, bf16)), halves,
             reinterpret_cast<std::uint16_t*>(to));
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
