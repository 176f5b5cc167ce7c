#include "kernels/attention/kv_rows.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/kv_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

static_assert(kHeadSize % kLanes == 0);

/// The largest magnitude of 64 numbers; NaN if not all are finite.
float largest_of(std::span<const float> x) {
  const Wide d;
  auto largest = hn::Zero(d), poison = hn::Zero(d);
  for (std::size_t i = 0; i < kHeadSize; i += kLanes) {
    const auto number = hn::LoadU(d, x.data() + i);
    largest = hn::Max(largest, hn::Abs(number));
    poison = hn::Add(poison, hn::Mul(number, hn::Zero(d)));  // stays 0 for finite numbers
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest)) + hn::GetLane(hn::SumOfLanes(d, poison));
}

/// The nearest codes of 64 numbers, as f32.
void to_codes(std::span<const float> x, float scale, std::span<float> codes) {
  const Wide d;
  const auto round = hn::Set(d, 0x1.8p23F);  // adding it leaves no bits behind the point
  for (std::size_t i = 0; i < kHeadSize; i += kLanes) {
    // Divides, as the inverse of a tiny scale overflows.
    const auto exact = hn::Div(hn::LoadU(d, x.data() + i), hn::Set(d, scale));
    const auto code =
        hn::Min(hn::Max(exact, hn::Set(d, -kLargestKvCode)), hn::Set(d, kLargestKvCode));
    hn::StoreU(hn::Sub(hn::Add(code, round), round), d, codes.data() + i);
  }
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(largest_of);
HWY_EXPORT(to_codes);

/// A key or value as it is kept: scale * number, the numbers exact in the format.
struct Kept {
  std::array<float, kHeadSize> numbers;
  base::Bf16 scale = base::to_bf16(1);
};

Kept round_to_bf16(std::span<const float> x) {
  Kept kept;
  for (std::size_t d = 0; d < kHeadSize; ++d) kept.numbers[d] = to_float(base::to_bf16(x[d]));
  return kept;
}

Kept quantise_to_int8(std::span<const float> x) {
  const float wanted = HWY_DYNAMIC_DISPATCH(largest_of)(x) / kLargestKvCode;
  // A scale below the normal numbers would have few bits, so then all becomes zero.
  Kept kept{{}, base::to_bf16(wanted < std::numeric_limits<float>::min() ? 0 : wanted)};
  const float scale = to_float(kept.scale);
  if (scale > 0) HWY_DYNAMIC_DISPATCH(to_codes)(x, scale, kept.numbers);  // else 0, or NaN
  return kept;
}

Kept quantise_row(base::KvFormat format, std::span<const float> x) {
  switch (format) {
    case base::KvFormat::kF32:
      break;
    case base::KvFormat::kBf16:
      return round_to_bf16(x);
    case base::KvFormat::kInt8:
      return quantise_to_int8(x);
  }
  Kept kept;
  std::copy_n(x.begin(), kHeadSize, kept.numbers.begin());
  return kept;
}

/// Where row `row` of a set of key panels keeps its first channel; the next one is kPanelCols
/// further.
constexpr std::size_t panel_offset(std::size_t row) {
  return row / kPanelCols * kPanelCols * kHeadSize + row % kPanelCols;
}

void store(float number, float* to) { *to = number; }
void store(float number, base::Bf16* to) { *to = base::to_bf16(number); }
void store(float number, std::int8_t* to) { *to = static_cast<std::int8_t>(number); }

float load(const float* from) { return *from; }
float load(const base::Bf16* from) { return base::to_float(*from); }
float load(const std::int8_t* from) { return *from; }

}  // namespace

ChunkRows HeadLayout::rows(const std::byte* head) const {
  ChunkRows rows{format_, head, head + values_begin(), nullptr, nullptr};
  if (scales_bytes() != 0) {
    rows.key_scales = reinterpret_cast<const base::Bf16*>(head + scales_begin());
    rows.value_scales = rows.key_scales + padded_rows_;
  }
  return rows;
}

void HeadLayout::put(std::byte* head, std::size_t row, std::span<const float> key,
                     std::span<const float> value) const {
  const Kept kept_key = quantise_row(format_, key), kept_value = quantise_row(format_, value);
  with_type_of(format_, [&]<typename T>(std::type_identity<T>) {
    T* const to_key = reinterpret_cast<T*>(head) + panel_offset(row);
    T* const to_value = reinterpret_cast<T*>(head + values_begin()) + row * kHeadSize;
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      store(kept_key.numbers[d], to_key + d * kPanelCols);
      store(kept_value.numbers[d], to_value + d);
    }
  });
  if (scales_bytes() != 0) {
    auto* const scales = reinterpret_cast<base::Bf16*>(head + scales_begin());
    scales[row] = kept_key.scale;
    scales[padded_rows_ + row] = kept_value.scale;
  }
}

void HeadLayout::copy(const ChunkRows& from, std::byte* head) const {
  LR_DCHECK(from.format == format_);
  std::memcpy(head, from.keys, values_begin());
  std::memcpy(head + values_begin(), from.values, n_rows_ * row_bytes_);
  if (scales_bytes() != 0) {
    std::memcpy(head + scales_begin(), from.key_scales, scales_bytes());
    std::memcpy(head + scales_begin() + scales_bytes(), from.value_scales, scales_bytes());
  }
}

void read_row(const ChunkRows& rows, std::size_t row, std::span<float> key,
              std::span<float> value) {
  const bool is_scaled = rows.key_scales != nullptr;
  const float key_scale = is_scaled ? to_float(rows.key_scales[row]) : 1;
  const float value_scale = is_scaled ? to_float(rows.value_scales[row]) : 1;
  with_type_of(rows.format, [&]<typename T>(std::type_identity<T>) {
    const T* const from_key = reinterpret_cast<const T*>(rows.keys) + panel_offset(row);
    const T* const from_value = reinterpret_cast<const T*>(rows.values) + row * kHeadSize;
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      key[d] = key_scale * load(from_key + d * kPanelCols);
      value[d] = value_scale * load(from_value + d);
    }
  });
}

void sum_keys(const ChunkRows& rows, std::size_t n_rows, std::span<float> sums) {
  constexpr std::size_t kTogether = 8;  // channels, whose sums do not wait for each other
  std::ranges::fill(sums, 0.0F);
  with_type_of(rows.format, [&]<typename T>(std::type_identity<T>) {
    for (std::size_t first = 0; first < n_rows; first += kPanelCols) {
      const T* const panel = reinterpret_cast<const T*>(rows.keys) + panel_offset(first);
      const std::size_t n = std::min(kPanelCols, n_rows - first);
      for (std::size_t d = 0; d < kHeadSize; d += kTogether) {
        std::array<float, kTogether> together;
        std::copy_n(sums.data() + d, kTogether, together.data());
        for (std::size_t row = 0; row < n; ++row) {
          const float scale =
              rows.key_scales == nullptr ? 1 : to_float(rows.key_scales[first + row]);
          for (std::size_t i = 0; i < kTogether; ++i) {
            together[i] += scale * load(panel + (d + i) * kPanelCols + row);
          }
        }
        std::copy_n(together.data(), kTogether, sums.data() + d);
      }
    }
  });
}

}  // namespace longreach::kernels
#endif
