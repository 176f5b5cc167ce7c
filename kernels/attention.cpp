#include "kernels/attention.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

constexpr float kScale = 0.125F;  // 1 / sqrt(64), exact

HWY_INLINE float exp_of(float x) {
  const One d;
  return hn::GetLane(hn::Exp(d, hn::Set(d, x)));
}

HWY_INLINE float max_of(std::span<const float> x) {
  const Wide d;
  auto maxima = hn::Set(d, -std::numeric_limits<float>::infinity());
  const std::size_t n_whole = x.size() - x.size() % kLanes;
  for (std::size_t i = 0; i < n_whole; i += kLanes)
    maxima = hn::Max(maxima, hn::LoadU(d, x.data() + i));
  float max = hn::GetLane(hn::MaxOfLanes(d, maxima));
  for (std::size_t i = n_whole; i < x.size(); ++i) max = std::max(max, x[i]);
  return max;
}

/// scores = exp(scores * scale - max); returns max and leaves the sum in `weight`.
float exponentiate(std::span<float> scores, float& weight) {
  for_lanes(scores.size(), [&](auto d, std::size_t i) {
    hn::StoreU(hn::Mul(hn::LoadU(d, scores.data() + i), hn::Set(d, kScale)), d, scores.data() + i);
  });
  const float max = max_of(scores);
  for_lanes(scores.size(), [&](auto d, std::size_t i) {
    const auto lowered = hn::Sub(hn::LoadU(d, scores.data() + i), hn::Set(d, max));
    hn::StoreU(hn::Exp(d, lowered), d, scores.data() + i);
  });
  weight = ordered_sum(scores.size(),
                       [&](auto d, std::size_t i) { return hn::LoadU(d, scores.data() + i); });
  return max;
}

void merge_partials(Partial& total, const Partial& next) {
  const float max = std::max(total.max, next.max);
  const float keep = exp_of(total.max - max);
  const float take = exp_of(next.max - max);
  total.max = max;
  total.weight = total.weight * keep + next.weight * take;
  for_lanes(kHeadSize, [&](auto d, std::size_t i) {
    const auto kept = hn::Mul(hn::LoadU(d, total.sum.data() + i), hn::Set(d, keep));
    hn::StoreU(hn::MulAdd(hn::LoadU(d, next.sum.data() + i), hn::Set(d, take), kept), d,
               total.sum.data() + i);
  });
}

void divide(const Partial& total, std::span<float> out) {
  for_lanes(kHeadSize, [&](auto d, std::size_t i) {
    hn::StoreU(hn::Div(hn::LoadU(d, total.sum.data() + i), hn::Set(d, total.weight)), d,
               out.data() + i);
  });
}

void add_weighted(std::span<const float> x, float weight, std::span<float> y) {
  for_lanes(x.size(), [&](auto d, std::size_t i) {
    const auto share = hn::Div(hn::LoadU(d, x.data() + i), hn::Set(d, weight));
    hn::StoreU(hn::Add(hn::LoadU(d, y.data() + i), share), d, y.data() + i);
  });
}

/// First index >= from whose score is above the threshold, or the end.
std::size_t next_above(std::span<const float> scores, std::size_t from, float threshold) {
  const Wide d;
  std::size_t i = from;
  for (; i + kLanes <= scores.size(); i += kLanes) {
    const auto above = hn::Gt(hn::LoadU(d, scores.data() + i), hn::Set(d, threshold));
    if (const auto lane = hn::FindFirstTrue(d, above); lane >= 0)
      return i + static_cast<std::size_t>(lane);
  }
  for (; i < scores.size(); ++i) {
    if (scores[i] > threshold) return i;
  }
  return scores.size();
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(exponentiate);
HWY_EXPORT(merge_partials);
HWY_EXPORT(divide);
HWY_EXPORT(add_weighted);
HWY_EXPORT(next_above);

/// The partial of rows first .. last-1, all inside the block of rows that starts at `block`.
Partial attend_block(std::span<const float> q, const ChunkRows& rows, std::size_t block,
                     std::size_t first, std::size_t last) {
  std::array<float, kAttentionBlockRows> scores;
  const Panels<float> keys{rows.keys.data + block / kPanelCols * rows.keys.panel_stride,
                           rows.keys.panel_stride, rows.keys.k_stride};
  panel_product({q.data(), 1, kHeadSize}, keys, {scores.data(), 1, last - block}, Start::kZero);

  Partial partial;
  const std::span<float> wanted(scores.data() + (first - block), last - first);
  partial.max = HWY_DYNAMIC_DISPATCH(exponentiate)(wanted, partial.weight);
  const Panels<float> values{rows.values + first * kHeadSize, kPanelCols, kHeadSize};
  panel_product({wanted.data(), 1, wanted.size()}, values, {partial.sum.data(), 1, kHeadSize},
                Start::kZero);
  return partial;
}

}  // namespace

Partial attend(std::span<const float> q, const ChunkRows& rows, std::size_t first,
               std::size_t last) noexcept {
  LR_DCHECK(q.size() == kHeadSize && first < last);
  Partial total;
  for (std::size_t block = first / kAttentionBlockRows * kAttentionBlockRows; block < last;
       block += kAttentionBlockRows) {
    merge(total, attend_block(q, rows, block, std::max(first, block),
                              std::min(last, block + kAttentionBlockRows)));
  }
  return total;
}

void merge(Partial& total, const Partial& next) noexcept {
  if (total.weight == 0) {
    total = next;
  } else {
    HWY_DYNAMIC_DISPATCH(merge_partials)(total, next);
  }
}

void finish(const Partial& total, std::span<float> out) noexcept {
  LR_DCHECK(out.size() == kHeadSize);
  HWY_DYNAMIC_DISPATCH(divide)(total, out);
}

void add_softmax(std::span<float> scores, std::span<float> votes) noexcept {
  LR_DCHECK(scores.size() == votes.size());
  float weight = 0;
  HWY_DYNAMIC_DISPATCH(exponentiate)(scores, weight);
  HWY_DYNAMIC_DISPATCH(add_weighted)(scores, weight, votes);
}

std::size_t choose_chunks(std::span<const float> scores, std::size_t k,
                          std::span<std::uint32_t> chosen) noexcept {
  if (k == 0) return 0;
  // `chosen` holds the best so far, best first, until the end.
  std::size_t n = 0;
  const auto next_above_active = HWY_DYNAMIC_DISPATCH(next_above);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (n == k) i = next_above_active(scores, i, scores[chosen[k - 1]]);
    if (i == scores.size()) break;
    if (std::isnan(scores[i])) continue;
    std::size_t place = n < k ? n++ : k - 1;
    // Chunks come in ascending order, so that of two equal scores the lower number stays ahead.
    for (; place > 0 && scores[i] > scores[chosen[place - 1]]; --place)
      chosen[place] = chosen[place - 1];
    chosen[place] = static_cast<std::uint32_t>(i);
  }
  std::sort(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(n));
  return n;
}

}  // namespace longreach::kernels
#endif
