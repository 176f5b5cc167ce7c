// Row steps that several kernels share, per instruction-set path; see simd-inl.hpp.
#if defined(LONGREACH_KERNELS_ROW_OPS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGREACH_KERNELS_ROW_OPS_INL
#undef LONGREACH_KERNELS_ROW_OPS_INL
#else
#define LONGREACH_KERNELS_ROW_OPS_INL
#endif

#include <cmath>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

/// Layer normalisation of n numbers; y may be x.
HWY_INLINE void normalize(const float* x, const float* weight, const float* bias, std::size_t n,
                          float eps, float* y) {
  const float mean = ordered_sum(n, [&](auto d, std::size_t i) { return hn::LoadU(d, x + i); }) /
                     static_cast<float>(n);
  const float variance = ordered_sum(n,
                                     [&](auto d, std::size_t i) {
                                       const auto centred =
                                           hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean));
                                       return hn::Mul(centred, centred);
                                     }) /
                         static_cast<float>(n);
  const float scale = 1.0F / std::sqrt(variance + eps);
  for_lanes(n, [&](auto d, std::size_t i) {
    const auto normal = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, scale));
    hn::StoreU(hn::MulAdd(normal, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
  });
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
