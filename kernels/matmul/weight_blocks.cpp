#include "kernels/matmul/weight_blocks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/weight_blocks.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/matmul/blocks-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

/// Vectors of the columns of a panel.
constexpr std::size_t kColVectors = kPanelCols / kLanes;

using Floats = hn::Vec<Wide>;
using Ints = hn::RebindToSigned<Wide>;

/// One number for each column.
using Row = Floats[kColVectors];

HWY_INLINE Floats weights_of(const BlockWeights& weights, std::size_t k, std::size_t v) {
  return hn::LoadU(Wide(), &weights[k][v * kLanes]);
}

/// The weight of largest magnitude of each column, with its sign; NaN if one is not finite.
HWY_INLINE void find_extremes(const BlockWeights& weights, Row& extreme) {
  const Wide d;
  Row poison;  // stays 0 for finite numbers, else becomes NaN
  for (std::size_t v = 0; v < kColVectors; ++v) extreme[v] = poison[v] = hn::Zero(d);
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t v = 0; v < kColVectors; ++v) {
      const auto now = weights_of(weights, k, v);
      const auto is_larger = hn::Gt(hn::Abs(now), hn::Abs(extreme[v]));
      extreme[v] = hn::IfThenElse(is_larger, now, extreme[v]);
      poison[v] = hn::Add(poison[v], hn::Mul(now, hn::Zero(d)));
    }
  }
  for (std::size_t v = 0; v < kColVectors; ++v) extreme[v] = hn::Add(extreme[v], poison[v]);
}

/// Makes scales of the extremes, such that these have the code `code`, rounded as they are kept.
HWY_INLINE void make_scales(Row& extremes, float code, std::array<base::Bf16, kPanelCols>& kept) {
  const Wide d;
  for (std::size_t v = 0; v < kColVectors; ++v) {
    const auto scale = nearest_bf16_or_nan(hn::Div(extremes[v], hn::Set(d, code)));
    store_bf16(scale, &kept[v * kLanes]);
    extremes[v] = hn::BitCast(d, hn::ShiftLeft<16>(scale));
  }
}

/// The nearest code. Divides, as the inverse of a tiny scale overflows. Where the scale is 0 or NaN
/// any code does: that is the lowest one, or the highest.
HWY_INLINE hn::Vec<Ints> nearest_code(Floats weight, Floats scale, float lowest, float highest) {
  const Wide d;
  const auto low = hn::Set(d, lowest), high = hn::Set(d, highest);
  auto code = hn::Div(weight, scale);
  code = hn::IfThenElse(hn::Gt(code, low), code, low);
  code = hn::IfThenElse(hn::Lt(code, high), code, high);
  const auto round = hn::Set(d, 0x1.8p23F);  // adding it leaves no bits behind the point
  return hn::ConvertTo(Ints(), hn::Sub(hn::Add(code, round), round));
}

void quantize_to_int8(const BlockWeights& weights, Int8Block& block) {
  constexpr float kLimit = 127;
  const Ints d;
  Row scales;
  find_extremes(weights, scales);
  for (auto& scale : scales) scale = hn::Abs(scale);
  make_scales(scales, kLimit, block.scales);
  const auto code_at = [&](std::size_t k, std::size_t v) {
    return nearest_code(weights_of(weights, k, v), scales[v], -kLimit, kLimit);
  };
  for (std::size_t k = 0; k < kScaleBlock; k += 2) {
    for (std::size_t v = 0; v < kColVectors; ++v) {
      const auto first = hn::And(code_at(k, v), hn::Set(d, 0xff));
      const auto second = hn::And(hn::ShiftLeft<8>(code_at(k + 1, v)), hn::Set(d, 0xff00));
      const hn::Rebind<std::uint16_t, Wide> pairs;
      hn::StoreU(hn::DemoteTo(pairs, hn::Or(first, second)), pairs,
                 reinterpret_cast<std::uint16_t*>(&block.codes[k / 2][v * kLanes]));
    }
  }
}

void quantize_to_int4(const BlockWeights& weights, Int4Block& block) {
  // The largest weight gets the code that has no counterpart, so all sixteen are used.
  constexpr float kLowest = -8, kHighest = 7;
  const Ints d;
  Row scales;
  find_extremes(weights, scales);
  make_scales(scales, kLowest, block.scales);
  for (std::size_t k = 0; k < kScaleBlock; k += 8) {
    for (std::size_t v = 0; v < kColVectors; ++v) {
      auto codes = hn::Zero(d);  // two words of a column
      for (std::size_t i = 0; i < 8; ++i) {
        const auto code = nearest_code(weights_of(weights, k + i, v), scales[v], kLowest, kHighest);
        const int place = static_cast<int>(i / 2 * 4 + i % 2 * 16);
        codes = hn::Or(codes, hn::ShiftLeftSame(hn::And(code, hn::Set(d, 0xf)), place));
      }
      hn::StoreU(codes, d, reinterpret_cast<std::int32_t*>(&block.codes[k / 8][v * kLanes]));
    }
  }
}

void round_to_pairs(const BlockWeights& weights, PairOrder order, Bf16Block& block) {
  const hn::RebindToUnsigned<Wide> d;
  const std::size_t first = order == PairOrder::kFirstBelow ? 0 : 1;
  for (std::size_t k = 0; k < kScaleBlock; k += 2) {
    for (std::size_t v = 0; v < kColVectors; ++v) {
      const auto below = nearest_bf16_or_nan(weights_of(weights, k + first, v));
      const auto above = nearest_bf16_or_nan(weights_of(weights, k + 1 - first, v));
      hn::StoreU(hn::Or(below, hn::ShiftLeft<16>(above)), d,
                 reinterpret_cast<std::uint32_t*>(&block.weights[k / 2][v * kLanes]));
    }
  }
}

HWY_INLINE Floats stored(Floats weights, float* to) {
  hn::StoreU(weights, Wide(), to);
  return weights;
}

HWY_INLINE Floats stored(Floats weights, base::Bf16* to) {
  const auto rounded = nearest_bf16_or_nan(weights);
  store_bf16(rounded, to);
  return hn::BitCast(Wide(), hn::ShiftLeft<16>(rounded));
}

template <typename T>
HWY_INLINE bool write_rows(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride,
                           T* to) {
  const Wide d;
  auto poison = hn::Zero(d);  // stays 0 for finite numbers, else becomes NaN
  for (std::size_t k = 0; k < n_k; ++k) {
    for (std::size_t v = 0; v < kColVectors; ++v) {
      const auto kept = stored(weights_of(weights, k, v), to + k * k_stride + v * kLanes);
      poison = hn::Add(poison, hn::Mul(kept, hn::Zero(d)));
    }
  }
  return hn::AllTrue(d, hn::Eq(poison, hn::Zero(d)));
}

bool write_f32(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride, float* to) {
  return write_rows(weights, n_k, k_stride, to);
}

bool write_bf16(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride,
                base::Bf16* to) {
  return write_rows(weights, n_k, k_stride, to);
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(quantize_to_int8);
HWY_EXPORT(quantize_to_int4);
HWY_EXPORT(round_to_pairs);
HWY_EXPORT(write_f32);
HWY_EXPORT(write_bf16);

}  // namespace

void quantize(const BlockWeights& weights, Int8Block& block) noexcept {
  HWY_DYNAMIC_DISPATCH(quantize_to_int8)(weights, block);
}

void quantize(const BlockWeights& weights, Int4Block& block) noexcept {
  HWY_DYNAMIC_DISPATCH(quantize_to_int4)(weights, block);
}

void write_pairs(const BlockWeights& weights, PairOrder order, Bf16Block& block) noexcept {
  HWY_DYNAMIC_DISPATCH(round_to_pairs)(weights, order, block);
}

bool write_steps(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride,
                 float* to) noexcept {
  return HWY_DYNAMIC_DISPATCH(write_f32)(weights, n_k, k_stride, to);
}

bool write_steps(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride,
                 base::Bf16* to) noexcept {
  return HWY_DYNAMIC_DISPATCH(write_bf16)(weights, n_k, k_stride, to);
}

}  // namespace longreach::kernels
#endif
