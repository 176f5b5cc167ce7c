#include "kernels/kv_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace longreach::kernels {
namespace {

/// A key or value as it is kept: scale * number, the numbers exact in the format.
struct Kept {
  std::array<float, kHeadSize> numbers;
  base::Bf16 scale = base::to_bf16(1);
};

Kept keep_bf16(std::span<const float> x) {
  Kept kept;
  for (std::size_t d = 0; d < kHeadSize; ++d) kept.numbers[d] = to_float(base::to_bf16(x[d]));
  return kept;
}

Kept keep_int8(std::span<const float> x) {
  constexpr float kLimit = 127;
  constexpr float kRound = 0x1.8p23F;            // adding it leaves no bits behind the point
  constexpr std::size_t kSums = 16;              // side by side, which compilers make vectors of
  std::array<float, kSums> largest{}, poison{};  // poison stays 0 for finite numbers
  for (std::size_t d = 0; d < kHeadSize; ++d) {
    const float size = std::abs(x[d]);
    largest[d % kSums] = size > largest[d % kSums] ? size : largest[d % kSums];
    poison[d % kSums] += x[d] * 0;
  }
  float wanted = *std::max_element(largest.begin(), largest.end()) / kLimit;
  for (const float p : poison) wanted += p;
  // A scale below the normal numbers would have few bits, so then all becomes zero.
  Kept kept{{}, base::to_bf16(wanted < std::numeric_limits<float>::min() ? 0 : wanted)};
  const float scale = to_float(kept.scale);
  if (!(scale > 0)) return kept;  // or NaN, as not all is finite
  for (std::size_t d = 0; d < kHeadSize; ++d) {
    float code = x[d] / scale;
    code = code > -kLimit ? code : -kLimit;
    code = code < kLimit ? code : kLimit;
    kept.numbers[d] = (code + kRound) - kRound;
  }
  return kept;
}

Kept keep(base::KvFormat format, std::span<const float> x) {
  switch (format) {
    case base::KvFormat::kF32:
      break;
    case base::KvFormat::kBf16:
      return keep_bf16(x);
    case base::KvFormat::kInt8:
      return keep_int8(x);
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
                     std::span<const float> value, std::span<float> key_sums) const {
  const Kept kept_key = keep(format_, key), kept_value = keep(format_, value);
  const float key_scale = to_float(kept_key.scale);
  for (std::size_t d = 0; d < kHeadSize; ++d) key_sums[d] += key_scale * kept_key.numbers[d];
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

}  // namespace longreach::kernels
