#include "kernels/recurrence/recurrence.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/recurrence/recurrence.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/rows/row_ops-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

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

/// Whether a token's update also computes what the next one removes.
enum class Next { kNone, kFollows };

/// Value channels that are updated together: what the registers of a path hold.
constexpr std::size_t kStripVecs = kLanes == 16 ? 4 : 2;
constexpr std::size_t kStrip = kStripVecs * kLanes;
using Strip = hn::Vec<Wide>[kStripVecs];

/// removed = S kappa^T.
HWY_INLINE void find_removed(const float* removal, const float* state, Strip& removed) {
  const Wide d;
  for (auto& sum : removed) sum = hn::Zero(d);
  for (std::size_t j = 0; j < kHeadSize; ++j) {
    const auto kappa = hn::Set(d, removal[j]);
    for (std::size_t n = 0; n < kStripVecs; ++n) {
      const auto s = hn::LoadU(d, state + j * kHeadSize + n * kLanes);
      removed[n] = hn::MulAdd(s, kappa, removed[n]);
    }
  }
}

/// One token: updates S and gives y = S r^T. What the next token removes, with next_removal as its
/// kappa, is summed on the way, so that the state goes through the registers once a token.
template <Next kNext>
HWY_INLINE void update_state(const Keys& keys, const float* r, const float* w, const float* v,
                             const float* next_removal, float* HWY_RESTRICT state, Strip& removed,
                             float* HWY_RESTRICT y) {
  const Wide d;
  Strip value, sum, next_removed;
  for (std::size_t n = 0; n < kStripVecs; ++n) {
    next_removed[n] = hn::Zero(d);
    sum[n] = hn::Zero(d);
    value[n] = hn::LoadU(d, v + n * kLanes);
  }
  for (std::size_t j = 0; j < kHeadSize; ++j) {
    const auto decay = hn::Set(d, w[j]);
    const auto rate = hn::Set(d, keys.rate[j]);
    const auto key = hn::Set(d, keys.replacement[j]);
    const auto receptance = hn::Set(d, r[j]);
    float* row = state + j * kHeadSize;
    for (std::size_t n = 0; n < kStripVecs; ++n) {
      auto s = hn::Mul(hn::LoadU(d, row + n * kLanes), decay);
      s = hn::NegMulAdd(removed[n], rate, s);
      s = hn::MulAdd(value[n], key, s);
      hn::StoreU(s, d, row + n * kLanes);
      sum[n] = hn::MulAdd(s, receptance, sum[n]);
      if constexpr (kNext == Next::kFollows) {
        next_removed[n] = hn::MulAdd(s, hn::Set(d, next_removal[j]), next_removed[n]);
      }
    }
  }
  for (std::size_t n = 0; n < kStripVecs; ++n) {
    hn::StoreU(sum[n], d, y + n * kLanes);
    removed[n] = next_removed[n];
  }
}

/// out = (GroupNorm(y) + (sum r * k * r_k) v) * g; y is used up.
HWY_INLINE void finish_token(const TimeMixHead& head, const Keys& keys, const float* r,
                             const float* v, const float* g, float* y, float* out) {
  constexpr float kGroupNormEps = 64e-5F;
  normalize(y, head.norm_weight.data(), head.norm_bias.data(), kHeadSize, kGroupNormEps, y);
  const float bonus = ordered_sum(kHeadSize, [&](auto d, std::size_t j) {
    return hn::Mul(hn::Mul(hn::LoadU(d, r + j), hn::LoadU(d, keys.replacement + j)),
                   hn::LoadU(d, head.r_k.data() + j));
  });
  for_lanes(kHeadSize, [&](auto d, std::size_t i) {
    const auto sum = hn::MulAdd(hn::Set(d, bonus), hn::LoadU(d, v + i), hn::LoadU(d, y + i));
    hn::StoreU(hn::Mul(sum, hn::LoadU(d, g + i)), d, out + i);
  });
}

void time_mix_head_t(const TimeMixHead& head, const TimeMixInputs& in, std::span<float> state,
                     base::MatView<float> out) {
  // Only the state passes from token to token. What else they need is computed for a few at a time,
  // so that its chains of additions and its waiting for memory overlap.
  constexpr std::size_t kTokens = 8;
  Keys keys[kTokens];
  HWY_ALIGN float y[kTokens][kHeadSize];
  for (std::size_t first = 0; first < out.rows(); first += kTokens) {
    const std::size_t n = std::min(kTokens, out.rows() - first);
    for (std::size_t t = 0; t < n; ++t) {
      for (const auto& rows : {in.r, in.w, in.v, in.g}) {
        prefetch(rows.row(first + t).data(), kHeadSize * sizeof(float));
      }
      prepare_keys(head, in.k.row(first + t).data(), in.a.row(first + t).data(), keys[t]);
    }
    for (std::size_t i = 0; i < kHeadSize; i += kStrip) {
      Strip removed;
      find_removed(keys[0].removal, state.data() + i, removed);
      for (std::size_t t = 0; t < n; ++t) {
        const float* r = in.r.row(first + t).data();
        const float* w = in.w.row(first + t).data();
        const float* v = in.v.row(first + t).data() + i;
        if (t + 1 < n) {
          update_state<Next::kFollows>(keys[t], r, w, v, keys[t + 1].removal, state.data() + i,
                                       removed, y[t] + i);
        } else {
          update_state<Next::kNone>(keys[t], r, w, v, nullptr, state.data() + i, removed, y[t] + i);
        }
      }
    }
    for (std::size_t t = 0; t < n; ++t) {
      finish_token(head, keys[t], in.r.row(first + t).data(), in.v.row(first + t).data(),
                   in.g.row(first + t).data(), y[t], out.row(first + t).data());
    }
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
