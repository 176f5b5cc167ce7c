/// Number types of weights and caches, and exact conversions between them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace longreach::base {

/// A token's id in the vocabulary.
using TokenId = std::int32_t;

/// How a number is stored.
enum class DType { kF32, kBf16, kF16 };

/// Bytes of one number.
constexpr std::size_t size_of(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

/// "f32", "bf16" or "f16".
constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kBf16:
      return "bf16";
    case DType::kF16:
      return "f16";
  }
  return "?";
}

/// How the elements of a weight matrix are kept (kernels/matmul/weight-formats.md).
enum class WeightFormat { kF32, kBf16, kInt8, kInt4 };

/// "f32", "bf16", "int8" or "int4".
constexpr std::string_view name_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
  }
  return "?";
}

/// Inputs of a column that share a scale in the formats of few bits.
inline constexpr std::size_t kScaleBlock = 32;

/// Bytes of the n_in weights of one output column.
constexpr std::size_t column_bytes(WeightFormat format, std::size_t n_in) {
  const std::size_t n_blocks = (n_in + kScaleBlock - 1) / kScaleBlock;
  constexpr std::size_t kScale = 2;
  switch (format) {
    case WeightFormat::kF32:
      return n_in * 4;
    case WeightFormat::kBf16:
      return n_in * 2;
    case WeightFormat::kInt8:
      return n_blocks * (kScale + kScaleBlock);
    case WeightFormat::kInt4:
      return n_blocks * (kScale + kScaleBlock / 2);
  }
  return 0;
}

/// What activations are rounded to where they meet a matrix (kernels/matmul/weight-formats.md,
/// "Activations"): kF32 loses less than weights do; kBf16 and kInt8 lose as much, and are faster.
enum class Activations { kF32, kBf16, kInt8 };

/// "f32", "bf16" or "int8".
constexpr std::string_view name_of(Activations activations) {
  switch (activations) {
    case Activations::kF32:
      return "f32";
    case Activations::kBf16:
      return "bf16";
    case Activations::kInt8:
      return "int8";
  }
  return "?";
}

/// How a matrix is multiplied. A weight format alone stands for activations in f32.
struct ProductFormat {
  constexpr ProductFormat(WeightFormat w = WeightFormat::kF32, Activations x = Activations::kF32)
      : weights(w), activations(x) {}

  constexpr bool operator==(const ProductFormat&) const = default;

  WeightFormat weights;
  Activations activations;
};

/// All that there are: rounded activations need weights of their own kind, integers also those of 4
/// bits.
inline constexpr ProductFormat kProductFormats[] = {WeightFormat::kF32,
                                                    WeightFormat::kBf16,
                                                    {WeightFormat::kBf16, Activations::kBf16},
                                                    WeightFormat::kInt8,
                                                    {WeightFormat::kInt8, Activations::kInt8},
                                                    WeightFormat::kInt4,
                                                    {WeightFormat::kInt4, Activations::kInt8}};

/// "int8", and with activations that are not f32 "int8/int8": weights, then activations.
inline std::string text_of(ProductFormat product) {
  std::string text(name_of(product.weights));
  if (product.activations != Activations::kF32)
    text.append("/").append(name_of(product.activations));
  return text;
}

/// How the rows of a cache of keys and values are kept (kernels/attention/kv-formats.md).
enum class KvFormat { kF32, kBf16, kInt8 };

/// "f32", "bf16" or "int8".
constexpr std::string_view name_of(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return "f32";
    case KvFormat::kBf16:
      return "bf16";
    case KvFormat::kInt8:
      return "int8";
  }
  return "?";
}

/// Bytes of one channel of a key or value.
constexpr std::size_t size_of(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return 4;
    case KvFormat::kBf16:
      return 2;
    case KvFormat::kInt8:
      return 1;
  }
  return 0;
}

/// Bytes of the scale that a row has in each head, its key and its value each; 0 for none.
constexpr std::size_t scale_bytes(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
    case KvFormat::kBf16:
      return 0;
    case KvFormat::kInt8:
      return 2;
  }
  return 0;
}

/// A bfloat16: the upper half of a float.
struct Bf16 {
  std::uint16_t bits;
};

constexpr float to_float(float x) { return x; }

/// Exact.
constexpr float to_float(Bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

/// Nearest bfloat16, ties to even; a NaN stays a NaN.
constexpr Bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

/// The value of an IEEE half with the given bits; exact.
constexpr float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000U} << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fU;
  const std::uint32_t mantissa = half & 0x3ffU;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t wide = exponent == 0x1f ? 0xffU : exponent + 112;  // infinity/NaN, or rebias
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

/// The nearest IEEE half, ties to even; infinite for what is too large. A NaN stays a NaN.
constexpr std::uint16_t to_half(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000U) {
    half = 0x7e00U;
  } else if (magnitude >= 0x47800000U) {  // 2^16
    half = 0x7c00U;
  } else if (magnitude < 0x38800000U) {  // 2^-14: subnormal, a multiple of 2^-24 as steps at 0.5
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000U;
  } else {
    half = (magnitude - (112U << 23) + 0xfffU + (magnitude >> 13 & 1U)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

}  // namespace longreach::base
