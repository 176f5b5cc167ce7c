#include "kernels/recurrence.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/recurrence.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/row_ops-inl.hpp"
#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

/// Keys of one token as the state update wants them.
struct Keys {
  HWY_ALIGN float removal[kHeadSize];      ///< kappa
  HWY_ALIGN float replacement[kHeadSize];  ///< k * (1 + (a - 1) * k_a)
  HWY_ALIGN float rate[kHeadSize];         ///< a * kappa
};

HWY_INLINE void prepare_keys(const TimeMixHead& head, const float* k, const float* a, Keys& keys) {
  for_lanes(kHeadSize, [&](auto d, std::size_t j) {
    hn::StoreU(hn::Mul(hn::LoadU(d, k + j), hn::LoadU(d, head.k_k.data() + j)), d,
               keys.removal + j);
  });
  const float norm = std::sqrt(ordered_sum(kHeadSize, [&](auto d, std::size_t j) {
    const auto z = hn::LoadU(d, keys.removal + j);
    return hn::Mul(z, z);
  }));
  const float scale = 1.0F / std::max(norm, 1e-12F);
  for_lanes(kHeadSize, [&](auto d, std::size_t j) {
    const auto kappa = hn::Mul(hn::LoadU(d, keys.removal + j), hn::Set(d, scale));
    const auto rate = hn::LoadU(d, a + j);
    const auto one = hn::Set(d, 1.0F);
    const auto factor = hn::MulAdd(hn::Sub(rate, one), hn::LoadU(d, head.k_a.data() + j), one);
    hn::StoreU(kappa, d, keys.removal + j);
    hn::StoreU(hn::Mul(rate, kappa), d, keys.rate + j);
    hn::StoreU(hn::Mul(hn::LoadU(d, k + j), factor), d, keys.replacement + j);
  });
}

/// One token: updates S and gives y = S r^T. Lanes are value channels, kVecs vectors of them at a
/// time.
HWY_INLINE void update_state(const Keys& keys, const float* r, const float* w, const float* v,
                             float* state, float* y) {
  constexpr std::size_t kVecs = 4;
  const Wide d;
  for (std::size_t i = 0; i < kHeadSize; i += kVecs * kLanes) {
    hn::Vec<Wide> removed[kVecs], value[kVecs], sum[kVecs];
    for (std::size_t n = 0; n < kVecs; ++n) {
      removed[n] = hn::Zero(d);
      sum[n] = hn::Zero(d);
      value[n] = hn::LoadU(d, v + i + n * kLanes);
    }
    for (std::size_t j = 0; j < kHeadSize; ++j) {
      const auto kappa = hn::Set(d, keys.removal[j]);
      const float* row = state + j * kHeadSize + i;
      for (std::size_t n = 0; n < kVecs; ++n) {
        removed[n] = hn::MulAdd(hn::LoadU(d, row + n * kLanes), kappa, removed[n]);
      }
    }
    for (std::size_t j = 0; j < kHeadSize; ++j) {
      const auto decay = hn::Set(d, w[j]);
      const auto rate = hn::Set(d, keys.rate[j]);
      const auto key = hn::Set(d, keys.replacement[j]);
      const auto receptance = hn::Set(d, r[j]);
      float* row = state + j * kHeadSize + i;
      for (std::size_t n = 0; n < kVecs; ++n) {
        auto s = hn::Mul(hn::LoadU(d, row + n * kLanes), decay);
        s = hn::NegMulAdd(removed[n], rate, s);
        s = hn::MulAdd(value[n], key, s);
        hn::StoreU(s, d, row + n * kLanes);
        sum[n] = hn::MulAdd(s, receptance, sum[n]);
      }
    }
    for (std::size_t n = 0; n < kVecs; ++n) hn::StoreU(sum[n], d, y + i + n * kLanes);
  }
}

void time_mix_head_t(const TimeMixHead& head, const TimeMixInputs& in, std::span<float> state,
                     base::MatView<float> out) {
  constexpr float kGroupNormEps = 64e-5F;
  for (std::size_t t = 0; t < out.rows(); ++t) {
    const float* r = in.r.row(t).data();
    const float* v = in.v.row(t).data();
    const float* g = in.g.row(t).data();
    Keys keys;
    prepare_keys(head, in.k.row(t).data(), in.a.row(t).data(), keys);
    HWY_ALIGN float y[kHeadSize];
    update_state(keys, r, in.w.row(t).data(), v, state.data(), y);
    normalize(y, head.norm_weight.data(), head.norm_bias.data(), kHeadSize, kGroupNormEps, y);
    const float bonus = ordered_sum(kHeadSize, [&](auto d, std::size_t j) {
      return hn::Mul(hn::Mul(hn::LoadU(d, r + j), hn::LoadU(d, keys.replacement + j)),
                     hn::LoadU(d, head.r_k.data() + j));
    });
    float* to = out.row(t).data();
    for_lanes(kHeadSize, [&](auto d, std::size_t i) {
      const auto sum = hn::MulAdd(hn::Set(d, bonus), hn::LoadU(d, v + i), hn::LoadU(d, y + i));
      hn::StoreU(hn::Mul(sum, hn::LoadU(d, g + i)), d, to + i);
    });
  }
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(time_mix_head_t);

}  // namespace

void time_mix_head(const TimeMixHead& head, const TimeMixInputs& inputs, std::span<float> state,
                   base::MatView<float> out) noexcept {
  LR_DCHECK(state.size() == kHeadStateSize && out.cols() == kHeadSize);
  HWY_DYNAMIC_DISPATCH(time_mix_head_t)(head, inputs, state, out);
}

}  // namespace longreach::kernels
#endif
