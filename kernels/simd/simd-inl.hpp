// What the vectorised kernels share. Included once for every instruction-set path (Highway's
// scheme), from .cpp files below kernels/ only, after <hwy/foreach_target.h>.
//
// Two habits keep bits the same whatever the vector length and the number of rows or threads:
//  - products accumulate along k, one fused multiply-add a step, with the lanes across outputs;
//  - sums along a row use 16 running sums (element i goes to sum i mod 16), folded by one fixed
//  tree.
#if defined(LONGREACH_KERNELS_SIMD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGREACH_KERNELS_SIMD_INL
#undef LONGREACH_KERNELS_SIMD_INL
#else
#define LONGREACH_KERNELS_SIMD_INL
#endif

#include "kernels/base/types.hpp"

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Full vectors, and single lanes with the same arithmetic for what is left of a row.
using Wide = hn::CappedTag<float, 16>;
using One = hn::CappedTag<float, 1>;

constexpr std::size_t kLanes = hn::MaxLanes(Wide());

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
  return hn::LoadU(d, from);
}

/// bf16 widened to f32: exact.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const base::Bf16* from) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::Rebind<std::uint32_t, D> word;
  const auto bits = hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(word, bits)));
}

/// Whole numbers as f32: exact.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const std::int8_t* from) {
  const hn::Rebind<std::int8_t, D> byte;
  const hn::Rebind<std::int32_t, D> word;
  return hn::ConvertTo(d, hn::PromoteTo(word, hn::LoadU(byte, from)));
}

/// How far ahead one row asks for its weights, which it uses once, at the speed of memory: what the
/// hardware fetches ahead by itself ends with every page.
constexpr std::size_t kBytesAhead = 8192;

/// Asks for the cache lines of from .. from + bytes, which need not exist.
HWY_INLINE void prefetch(const void* from, std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t i = 0; i < bytes; i += kLine) {
    __builtin_prefetch(static_cast<const std::byte*>(from) + i);
  }
}

/// Calls body(d, i) over 0..n: full vectors first, then single lanes.
template <class Body>
HWY_INLINE void for_lanes(std::size_t n, Body&& body) {
  const std::size_t n_whole = n - n % kLanes;
  for (std::size_t i = 0; i < n_whole; i += kLanes) body(Wide(), i);
  for (std::size_t i = n_whole; i < n; ++i) body(One(), i);
}

/// The sum of a vector's lanes, by adding its upper half to its lower one until one is left.
template <class D>
HWY_INLINE float folded([[maybe_unused]] D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::GetLane(v);
  } else {
    const hn::Half<D> half;
    // Not qualified, as hn has it only where vectors have halves.
    return folded(half, hn::Add(hn::LowerHalf(half, v), UpperHalf(half, v)));
  }
}

/// Sum of term(d, i) over 0..n in the fixed order described above. term gives a vector of elements
/// i, i + 1, ..
template <class Term>
HWY_INLINE float ordered_sum(std::size_t n, Term&& term) {
  const Wide d;
  hn::Vec<Wide> running[16 / kLanes];
  for (auto& sum : running) sum = hn::Zero(d);
  const std::size_t n_whole = n - n % 16;
  for (std::size_t i = 0; i < n_whole; i += 16) {
    for (std::size_t v = 0; v < 16 / kLanes; ++v) {
      running[v] = hn::Add(running[v], term(d, i + v * kLanes));
    }
  }
  if (n_whole < n) {
    HWY_ALIGN float rest[16] = {};  // zero changes no running sum, as none is -0
    for (std::size_t i = n_whole; i < n; ++i) rest[i - n_whole] = hn::GetLane(term(One(), i));
    for (std::size_t v = 0; v < 16 / kLanes; ++v) {
      running[v] = hn::Add(running[v], hn::Load(d, rest + v * kLanes));
    }
  }
  for (std::size_t half = 8 / kLanes; half != 0; half /= 2) {
    for (std::size_t v = 0; v < half; ++v) running[v] = hn::Add(running[v], running[v + half]);
  }
  return folded(d, running[0]);
}

/// exp(x). NaN stays NaN; Highway's own makes it 0.
template <class D>
HWY_INLINE hn::Vec<D> exp_of(D d, hn::Vec<D> x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
}

/// 1 / (1 + exp(-x)); exp's argument is kept below overflow.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid_of(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0F), limit = hn::Set(d, 88.0F);
  const auto argument = hn::Neg(x);
  const auto limited = hn::IfThenElse(hn::Gt(argument, limit), limit, argument);  // NaN stays NaN
  return hn::Div(one, hn::Add(one, exp_of(d, limited)));
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
