#include "kernels/attention/attention.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention.cpp"
#include "kernels/matmul/rounded_product.hpp"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

constexpr float kScale = 0.125F;  // 1 / sqrt(64), exact

HWY_INLINE float exp_of(float x) {
  const One d;
  return hn::GetLane(exp_of(d, hn::Set(d, x)));
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

/// scores = exp(scores * scale - max); returns max and leaves the sum in `weight`. As the scale is
/// a power of two, it may come before or after the maximum.
float exponentiate(std::span<float> scores, float& weight) {
  const float max = max_of(scores) * kScale;
  weight = ordered_sum(scores.size(), [&](auto d, std::size_t i) {
    const auto score = hn::LoadU(d, scores.data() + i);
    const auto power = exp_of(d, hn::MulSub(score, hn::Set(d, kScale), hn::Set(d, max)));
    hn::StoreU(power, d, scores.data() + i);
    return power;
  });
  return max;
}

/// sums[i] = that of values kSpanRows * i and following.
void add_up_spans(std::span<const float> values, std::span<float> sums) {
  for (std::size_t first = 0; first < values.size(); first += kSpanRows) {
    const std::size_t n = std::min(kSpanRows, values.size() - first);
    sums[first / kSpanRows] = ordered_sum(
        n, [&](auto d, std::size_t i) { return hn::LoadU(d, values.data() + first + i); });
  }
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

void divide_weights(float max, float weight, SpanWeights& block) {
  const float share = exp_of(block.max - max) / weight;
  for (float& span : block.spans) span *= share;
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

/// x[i] *= scales[i].
void scale_by(const base::Bf16* scales, std::span<float> x) {
  for_lanes(x.size(), [&](auto d, std::size_t i) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x.data() + i), load(d, scales + i)), d, x.data() + i);
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
HWY_EXPORT(add_up_spans);
HWY_EXPORT(merge_partials);
HWY_EXPORT(divide_weights);
HWY_EXPORT(divide);
HWY_EXPORT(add_weighted);
HWY_EXPORT(scale_by);
HWY_EXPORT(next_above);

constexpr std::size_t kKeyPanel = kHeadSize * kPanelCols;
static_assert(kAttentionTileQueries <= kRoundedRows && kHeadSize <= kRoundedSteps &&
                  kAttentionBlockRows <= kRoundedSteps,
              "a block's products are rounded at once");

/// Rows of a chunk from a multiple of kPanelCols on, which are counted from 0 here. Null pointers
/// for scales that are 1.
template <typename T>
struct BlockRows {
  const T* keys;    ///< Panels, one after the other.
  const T* values;  ///< [rows, 64]
  const base::Bf16 *key_scales, *value_scales;
};

template <typename T>
BlockRows<T> rows_from(const ChunkRows& rows, std::size_t first) {
  const bool is_scaled = rows.key_scales != nullptr;
  return {reinterpret_cast<const T*>(rows.keys) + first * kHeadSize,
          reinterpret_cast<const T*>(rows.values) + first * kHeadSize,
          is_scaled ? rows.key_scales + first : nullptr,
          is_scaled ? rows.value_scales + first : nullptr};
}

/// Asks for the scales of n rows, which are needed only after the keys.
void prefetch_scales(const base::Bf16* scales, std::size_t n) {
  constexpr std::size_t kInLine = 64 / sizeof(base::Bf16);
  for (std::size_t i = 0; i < n; i += kInLine) __builtin_prefetch(scales + i);
}

/// Numbers of the cache that are f32 meet f32 alone.
template <typename T>
void multiply(base::Activations activations, base::MatView<const float> x, const Panels<T>& panels,
              base::MatView<float> y, Start start) {
  if constexpr (!std::is_same_v<T, float>) {
    if (activations != base::Activations::kF32) {
      return rounded_panel_product(x, panels, y, start);
    }
  }
  panel_product(x, panels, y, start);
}

template <typename T>
void score_rows(base::MatView<const float> q, const BlockRows<T>& rows,
                base::Activations activations, base::MatView<float> scores) {
  multiply(activations, q, Panels<T>{rows.keys, kKeyPanel, kPanelCols}, scores, Start::kZero);
  if (rows.key_scales == nullptr) return;
  for (std::size_t i = 0; i < q.rows(); ++i) {
    HWY_DYNAMIC_DISPATCH(scale_by)(rows.key_scales, scores.row(i));
  }
}

/// Adds to partials what queries q [n, 64], n <= kAttentionTileQueries, see of rows begin ..
/// end_of(i) - 1 of a block; span_weights(i) is null or gets how query i divides between spans.
template <typename T, typename EndOf, typename WeightsOf>
void attend_block(base::MatView<const float> q, const BlockRows<T>& rows,
                  base::Activations activations, std::size_t begin, EndOf&& end_of,
                  std::span<Partial> partials, WeightsOf&& span_weights) {
  const std::size_t n = q.rows();
  if (rows.key_scales != nullptr) {
    prefetch_scales(rows.key_scales, end_of(n - 1));
    prefetch_scales(rows.value_scales, end_of(n - 1));
  }
  std::array<float, kAttentionTileQueries * kAttentionBlockRows> buffer;
  const base::MatView<float> scores(buffer.data(), n, end_of(n - 1), kAttentionBlockRows);
  score_rows(q, rows, activations, scores);

  std::array<Partial, kAttentionTileQueries> found;
  const auto weights_of = [&](std::size_t i) {
    return scores.row(i).subspan(begin, end_of(i) - begin);
  };
  for (std::size_t i = 0; i < n; ++i) {
    found[i].max = HWY_DYNAMIC_DISPATCH(exponentiate)(weights_of(i), found[i].weight);
    if (SpanWeights* const spans = span_weights(i)) {
      spans->max = found[i].max;
      HWY_DYNAMIC_DISPATCH(add_up_spans)(weights_of(i), spans->spans);
    }
    if (rows.value_scales != nullptr) {
      HWY_DYNAMIC_DISPATCH(scale_by)(rows.value_scales + begin, weights_of(i));
    }
  }
  // Rows that all queries see go together; the few that only later ones see follow in order.
  const std::size_t n_common = end_of(0) - begin;
  const auto values_from = [&](std::size_t row) {
    return Panels<T>{rows.values + row * kHeadSize, kPanelCols, kHeadSize};
  };
  multiply(activations, scores.cols(begin, n_common), values_from(begin),
           base::MatView<float>(found[0].sum.data(), n, kHeadSize, sizeof(Partial) / sizeof(float)),
           Start::kZero);
  for (std::size_t i = 0; i < n; ++i) {
    if (const auto rest = weights_of(i).subspan(n_common); !rest.empty()) {
      multiply(activations, {rest.data(), 1, rest.size()}, values_from(begin + n_common),
               {found[i].sum.data(), 1, kHeadSize}, Start::kContinue);
    }
    merge(partials[i], found[i]);
  }
}

}  // namespace

void attend(base::MatView<const float> q, const ChunkRows& rows, std::size_t first,
            std::span<const std::uint32_t> last, std::span<Partial> partials,
            std::span<SpanWeights* const> weights, base::Activations activations) noexcept {
  const std::size_t n = q.rows();
  LR_DCHECK(q.cols() == kHeadSize && last.size() == n && partials.size() == n);
  LR_DCHECK(weights.empty() || (weights.size() == n && first == 0));
  std::fill(partials.begin(), partials.end(), Partial{});
  // Block by block, so that a block's keys and values stay in the inner caches for all queries.
  for (std::size_t block = first / kAttentionBlockRows * kAttentionBlockRows; block < last[n - 1];
       block += kAttentionBlockRows) {
    const std::size_t begin = std::max(first, block) - block;
    std::size_t i = 0;
    while (last[i] <= block) ++i;
    while (i < n) {
      const std::size_t n_tile = std::min(kAttentionTileQueries, n - i);
      const auto end_of = [&](std::size_t j) {
        return std::min<std::size_t>(last[i + j] - block, kAttentionBlockRows);
      };
      const auto span_weights = [&](std::size_t j) -> SpanWeights* {
        if (weights.empty() || weights[i + j] == nullptr) return nullptr;
        return weights[i + j] + block / kAttentionBlockRows;
      };
      with_type_of(rows.format, [&]<typename T>(std::type_identity<T>) {
        attend_block(q.rows(i, n_tile), rows_from<T>(rows, block), activations, begin, end_of,
                     partials.subspan(i, n_tile), span_weights);
      });
      i += n_tile;
    }
  }
}

void score_keys(base::MatView<const float> q, const ChunkRows& rows,
                base::MatView<float> scores) noexcept {
  with_type_of(rows.format, [&]<typename T>(std::type_identity<T>) {
    score_rows(q, rows_from<T>(rows, 0), base::Activations::kF32, scores);
  });
}

void normalise(float max, float weight, SpanWeights& block) noexcept {
  HWY_DYNAMIC_DISPATCH(divide_weights)(max, weight, block);
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
