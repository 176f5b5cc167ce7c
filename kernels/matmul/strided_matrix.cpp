#include "kernels/matmul/strided_matrix.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/strided_matrix.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

/// An IEEE half.
struct Half {
  std::uint16_t bits;
};

/// Halves widened to f32, as base::half_to_float does it: exact.
HWY_INLINE hn::Vec<Wide> load(Wide d, const Half* from) {
  const hn::Rebind<std::uint16_t, Wide> half;
  const hn::RebindToUnsigned<Wide> word;
  const auto bits =
      hn::PromoteTo(word, hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from)));
  const auto magnitude = hn::And(bits, hn::Set(word, 0x7fffU));
  // Another bias of the exponent; the product is exact for subnormal numbers, too.
  const auto number = hn::Mul(hn::BitCast(d, hn::ShiftLeft<13>(magnitude)), hn::Set(d, 0x1p112F));
  const auto not_finite =
      hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(word, 0x7bffU)), hn::Set(word, 0x7f800000U));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(bits, magnitude));
  return hn::BitCast(d, hn::Or(hn::BitCast(word, number), hn::Or(not_finite, sign)));
}

/// What is inside a matrix of a block: numbers[input][column].
template <typename Number>
using Numbers = Number[kScaleBlock][kPanelCols];

#if HWY_TARGET == HWY_SCALAR

/// Numbers of a tile's side.
template <typename Number>
constexpr std::size_t kTileSide = 1;

template <typename Number>
void read_tile(const std::byte* from, std::size_t, std::size_t k, std::size_t col,
               Numbers<Number>& numbers) {
  std::memcpy(&numbers[k][col], from, sizeof(Number));
}

#else

template <typename Number>
constexpr std::size_t kTileSide = 16 / sizeof(Number);

/// Reads a tile whose inputs lie side by side, and its columns `stride` bytes apart.
template <typename Number>
HWY_INLINE void read_tile(const std::byte* from, std::size_t stride, std::size_t first_k,
                          std::size_t first_col, Numbers<Number>& numbers) {
  using Bits = std::conditional_t<sizeof(Number) == 4, std::uint32_t, std::uint16_t>;
  const hn::Full128<std::uint8_t> bytes;
  const hn::Full128<Bits> d;
  constexpr std::size_t kSize = kTileSide<Number>;
  hn::Vec<decltype(d)> rows[kSize], mixed[kSize];
  for (std::size_t i = 0; i < kSize; ++i) {
    const auto* const row = reinterpret_cast<const std::uint8_t*>(from + i * stride);
    rows[i] = hn::BitCast(d, hn::LoadU(bytes, row));
  }
  // Each round takes one bit of a number's place in a row for one of its row.
  for (std::size_t round = 1; round < kSize; round *= 2) {
    for (std::size_t i = 0; i < kSize / 2; ++i) {
      mixed[2 * i] = hn::InterleaveLower(d, rows[i], rows[i + kSize / 2]);
      mixed[2 * i + 1] = hn::InterleaveUpper(d, rows[i], rows[i + kSize / 2]);
    }
    std::copy_n(mixed, kSize, rows);
  }
  for (std::size_t i = 0; i < kSize; ++i) {
    hn::StoreU(rows[i], d, reinterpret_cast<Bits*>(&numbers[first_k + i][first_col]));
  }
}

#endif

/// Reads a whole block whose inputs lie side by side.
template <typename Number>
HWY_INLINE void read_columns(const std::byte* from, std::size_t stride, Numbers<Number>& numbers) {
  constexpr std::size_t kSize = kTileSide<Number>;
  for (std::size_t col = 0; col < kPanelCols; col += kSize) {
    for (std::size_t k = 0; k < kScaleBlock; k += kSize) {
      read_tile(from + col * stride + k * sizeof(Number), stride, k, col, numbers);
    }
  }
}

template <typename Number>
HWY_INLINE void read_numbers(const StridedMatrix& source, std::size_t first_k,
                             BlockWeights& weights) {
  const std::size_t n_cols = std::min(kPanelCols, source.n_out);
  const std::size_t n_k = std::min(kScaleBlock, source.n_in - first_k);
  const bool is_whole = n_cols == kPanelCols && n_k == kScaleBlock;
  const std::size_t out_stride = source.out_stride * sizeof(Number);
  const std::size_t in_stride = source.in_stride * sizeof(Number);
  const std::byte* const from = source.data + first_k * in_stride;
  HWY_ALIGN Numbers<Number> numbers;
  if (is_whole && source.in_stride == 1) {
    read_columns(from, out_stride, numbers);
  } else if (is_whole && source.out_stride == 1) {
    for (std::size_t k = 0; k < kScaleBlock; ++k) {
      std::memcpy(numbers[k], from + k * in_stride, sizeof(numbers[k]));
    }
  } else {
    std::memset(numbers, 0, sizeof(numbers));
    for (std::size_t col = 0; col < n_cols; ++col) {
      for (std::size_t k = 0; k < n_k; ++k) {
        std::memcpy(&numbers[k][col], from + col * out_stride + k * in_stride, sizeof(Number));
      }
    }
  }
  const Wide d;
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t col = 0; col < kPanelCols; col += kLanes) {
      hn::StoreU(load(d, &numbers[k][col]), d, &weights[k][col]);
    }
  }
}

void read_block_of(const StridedMatrix& source, std::size_t first_k, BlockWeights& weights) {
  switch (source.dtype) {
    case base::DType::kF32:
      return read_numbers<float>(source, first_k, weights);
    case base::DType::kBf16:
      return read_numbers<base::Bf16>(source, first_k, weights);
    case base::DType::kF16:
      return read_numbers<Half>(source, first_k, weights);
  }
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(read_block_of);

template <typename Bits>
Bits read_bits(const std::byte* from) {
  Bits bits;
  std::memcpy(&bits, from, sizeof(bits));
  return bits;
}

}  // namespace

float StridedMatrix::at(std::size_t o, std::size_t i) const {
  const std::byte* from = data + (o * out_stride + i * in_stride) * size_of(dtype);
  switch (dtype) {
    case base::DType::kF32:
      return read_bits<float>(from);
    case base::DType::kBf16:
      return base::to_float(base::Bf16{read_bits<std::uint16_t>(from)});
    case base::DType::kF16:
      return base::half_to_float(read_bits<std::uint16_t>(from));
  }
  return 0;
}

StridedMatrix StridedMatrix::outputs(std::size_t first, std::size_t count) const {
  StridedMatrix part = *this;
  part.data += first * out_stride * size_of(dtype);
  part.n_out = count;
  return part;
}

void read_block(const StridedMatrix& source, std::size_t first_k, BlockWeights& weights) noexcept {
  HWY_DYNAMIC_DISPATCH(read_block_of)(source, first_k, weights);
}

}  // namespace longreach::kernels
#endif
