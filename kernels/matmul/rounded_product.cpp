#include "kernels/matmul/rounded_product.hpp"

#include "kernels/simd/isa.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/rounded_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/matmul/blocks-inl.hpp"
#include "kernels/matmul/tiles-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

void round_row(std::span<const float> x, std::span<float> rounded) {
  for_lanes(x.size(), [&](auto d, std::size_t i) {
    const auto bf16 = nearest_bf16_or_nan(hn::LoadU(d, x.data() + i));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(bf16)), d, rounded.data() + i);
  });
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

using Ints = hn::Rebind<std::int32_t, Wide>;
using Words = hn::Rebind<std::uint32_t, Wide>;

constexpr std::size_t kVecsPerPanel = kPanelCols / kLanes;

// Written out, as the compiler may use neither in code for AVX3; sums by value, as gcc 12 keeps in
// memory what a statement changes by reference.

/// Adds the products of the upper and then those of the lower halves of words.
HWY_INLINE hn::Vec<Wide> add_pairs(hn::Vec<Words> x, hn::Vec<Words> w, hn::Vec<Wide> sum) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(w.raw));
  return sum;
}

/// Adds the products of four bytes, those of w without sign.
HWY_INLINE hn::Vec<Ints> add_fours(hn::Vec<Ints> x, hn::Vec<Words> w, hn::Vec<Ints> sum) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
  return sum;
}

template <typename T>
HWY_INLINE hn::Vec<Words> load_words(const T* from) {
  return hn::LoadU(Words(), reinterpret_cast<const std::uint32_t*>(from));
}

class PairKernel {
 public:
  static constexpr std::size_t kTileRows = PairBlock::kRows;
  static constexpr std::size_t kTilePanels = 2;

  PairKernel(const PairRows& x, const Bf16Block* panels, std::size_t panel_stride, Start start)
      : x_(x), panels_(panels), panel_stride_(panel_stride), start_(start) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    constexpr std::size_t kVecs = kPanels * kVecsPerPanel;
    const Bf16Block* HWY_RESTRICT weights = panels_ + panel * panel_stride_;
    const PairBlock* HWY_RESTRICT x = x_.row(row / PairBlock::kRows).data();  // a tile's first row
    const std::size_t n_blocks = x_.cols();
    hn::Vec<Wide> sum[kRows][kVecs];
    load_sums<kRows, kVecs>(start_, y, y_stride, sum);
    for (std::size_t b = 0; b < n_blocks; ++b, ++weights, ++x) {
      for (std::size_t pair = 0; pair < kScaleBlock / 2; ++pair) {
        hn::Vec<Words> w[kVecs];
        for (std::size_t v = 0; v < kVecs; ++v) {
          const auto* const from =
              &weights[v / kVecsPerPanel * panel_stride_].weights[pair][v % kVecsPerPanel * kLanes];
          if constexpr (kRows == 1) {
            prefetch(reinterpret_cast<const std::byte*>(from) + kBytesAhead / kPanels, 1);
          }
          w[v] = load_words(from);
        }
        for (std::size_t r = 0; r < kRows; ++r) {
          const auto x_pair = hn::Set(Words(), x->pairs[r][pair]);
          for (std::size_t v = 0; v < kVecs; ++v) sum[r][v] = add_pairs(x_pair, w[v], sum[r][v]);
        }
      }
    }
    store_sums<kRows, kVecs>(sum, y, y_stride);
  }

 private:
  PairRows x_;
  const Bf16Block* panels_;
  std::size_t panel_stride_;
  Start start_;
};

/// Numbers of vector v of two steps of a panel as words of pairs, the first step's in the upper
/// half.
HWY_INLINE hn::Vec<Words> load_pairs(const base::Bf16* first, const base::Bf16* second,
                                     std::size_t v) {
  using Halves = hn::Repartition<std::uint16_t, Wide>;
  static_assert(kVecsPerPanel == 2);
  HWY_ALIGN static constexpr std::uint16_t kOrders[2][32] = {
      {32, 0, 33, 1, 34, 2,  35, 3,  36, 4,  37, 5,  38, 6,  39, 7,
       40, 8, 41, 9, 42, 10, 43, 11, 44, 12, 45, 13, 46, 14, 47, 15},
      {48, 16, 49, 17, 50, 18, 51, 19, 52, 20, 53, 21, 54, 22, 55, 23,
       56, 24, 57, 25, 58, 26, 59, 27, 60, 28, 61, 29, 62, 30, 63, 31}};
  const auto order = hn::Load(Halves(), kOrders[v]);
  return hn::Vec<Words>{
      _mm512_permutex2var_epi16(load_words(first).raw, order.raw, load_words(second).raw)};
}

HWY_INLINE hn::Vec<Words> load_pairs(const std::int8_t* first, const std::int8_t* second,
                                     std::size_t v) {
  // Codes have 7 bits, so that the lower half of each is zero.
  const auto upper = hn::BitCast(Words(), load(Wide(), first + v * kLanes));
  const auto lower = hn::BitCast(Words(), load(Wide(), second + v * kLanes));
  return hn::Or(upper, hn::ShiftRight<16>(lower));
}

/// Rows of words of pairs.
struct alignas(64) PairWords {
  std::uint32_t words[kRoundedRows][kRoundedSteps / 2];
};

template <typename T>
class PairPanelKernel {
 public:
  static constexpr std::size_t kTileRows = 6;
  static constexpr std::size_t kTilePanels = 2;

  PairPanelKernel(const PairWords& x, std::size_t n_steps, const Panels<T>& panels, Start start)
      : x_(x), n_steps_(n_steps), panels_(panels), start_(start) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    constexpr std::size_t kVecs = kPanels * kVecsPerPanel;
    const T* HWY_RESTRICT data = panels_.data + panel * panels_.panel_stride;
    const std::uint32_t* HWY_RESTRICT x = x_.words[row];
    const std::size_t k_stride = panels_.k_stride, panel_stride = panels_.panel_stride;
    const std::size_t n_steps = n_steps_;
    hn::Vec<Wide> sum[kRows][kVecs];
    load_sums<kRows, kVecs>(start_, y, y_stride, sum);
    for (std::size_t k = 0; k < n_steps; k += 2, ++x) {
      if constexpr (kRows == 1) {
        prefetch_steps<kPanels>(panels_, n_steps, data, k);
        prefetch_steps<kPanels>(panels_, n_steps, data, k + 1);
      }
      const bool has_second = k + 1 < n_steps;
      hn::Vec<Words> w[kVecs];
      for (std::size_t v = 0; v < kVecs; ++v) {
        const T* const first = data + v / kVecsPerPanel * panel_stride + k * k_stride;
        w[v] = load_pairs(first, has_second ? first + k_stride : kZeros, v % kVecsPerPanel);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto x_pair = hn::Set(Words(), x[r * (kRoundedSteps / 2)]);
        for (std::size_t v = 0; v < kVecs; ++v) sum[r][v] = add_pairs(x_pair, w[v], sum[r][v]);
      }
    }
    store_sums<kRows, kVecs>(sum, y, y_stride);
  }

 private:
  /// What stands in for the step after an odd last one.
  static constexpr T kZeros[kPanelCols] = {};

  const PairWords& x_;
  std::size_t n_steps_;
  Panels<T> panels_;
  Start start_;
};

/// Codes of a panel of weights as bytes without sign, 2^kOffsetBits added: of each column the four
/// that FourBlock has together. Columns may be in another order, the same for scales.
template <class Block>
struct Codes;

/// Columns 0 .. 3, 8 .. 11, 16 .. 19, 24 .. 27, and those between.
template <>
struct Codes<Int8Block> {
  static constexpr int kOffsetBits = 7;

  template <std::size_t kHalf>
  static HWY_INLINE void load(const Int8Block& block, std::size_t group, hn::Vec<Words> (&w)[2]) {
    const hn::Repartition<std::uint8_t, Wide> bytes;
    const auto* const first = &block.codes[4 * group + kHalf][0];
    const auto* const third = &block.codes[4 * group + 2 + kHalf][0];
    const auto a = hn::BitCast(bytes, load_words(first)), b = hn::BitCast(bytes, load_words(third));
    const auto offset = hn::Set(Words(), 0x80808080U);
    w[0] = hn::Xor(hn::BitCast(Words(), hn::InterleaveLower(bytes, a, b)), offset);
    w[1] = hn::Xor(hn::BitCast(Words(), hn::InterleaveUpper(bytes, a, b)), offset);
  }

  static HWY_INLINE void load_scales(const Int8Block& block, hn::Vec<Wide> (&scales)[2]) {
    const hn::Repartition<std::uint16_t, Wide> halves;
    const auto all = hn::BitCast(halves, load_words(block.scales.data()));
    scales[0] = hn::BitCast(Wide(), hn::InterleaveLower(halves, hn::Zero(halves), all));
    scales[1] = hn::BitCast(Wide(), hn::InterleaveUpper(halves, hn::Zero(halves), all));
  }

  static HWY_INLINE void load(const float* y, hn::Vec<Wide> (&sums)[2]) {
    const Wide d;
    const auto first = swapped(hn::LoadU(d, y)), second = swapped(hn::LoadU(d, y + kLanes));
    sums[0] = hn::ConcatLowerLower(d, second, first);
    sums[1] = hn::ConcatUpperUpper(d, second, first);
  }

  static HWY_INLINE void store(const hn::Vec<Wide> (&sums)[2], float* y) {
    const Wide d;
    hn::StoreU(swapped(hn::ConcatLowerLower(d, sums[1], sums[0])), d, y);
    hn::StoreU(swapped(hn::ConcatUpperUpper(d, sums[1], sums[0])), d, y + kLanes);
  }

 private:
  /// Of four blocks of lanes the two in the middle.
  static HWY_INLINE hn::Vec<Wide> swapped(hn::Vec<Wide> v) {
    HWY_ALIGN static constexpr std::int32_t kOrder[16] = {0, 1, 2, 3, 8,  9,  10, 11,
                                                          4, 5, 6, 7, 12, 13, 14, 15};
    return hn::TableLookupLanes(v, hn::SetTableIndices(Wide(), kOrder));
  }
};

template <>
struct Codes<Int4Block> {
  static constexpr int kOffsetBits = 3;

  template <std::size_t kHalf>
  static HWY_INLINE void load(const Int4Block& block, std::size_t group, hn::Vec<Words> (&w)[2]) {
    const Words d;
    for (std::size_t v = 0; v < 2; ++v) {
      const auto words = load_words(&block.codes[group][v * kLanes]);
      const auto codes = hn::And(hn::ShiftRight<4 * kHalf>(words), hn::Set(d, 0x0f0f0f0fU));
      w[v] = hn::Xor(codes, hn::Set(d, 0x08080808U));
    }
  }

  static HWY_INLINE void load_scales(const Int4Block& block, hn::Vec<Wide> (&scales)[2]) {
    for (std::size_t v = 0; v < 2; ++v) {
      scales[v] = kernels::HWY_NAMESPACE::load(Wide(), block.scales.data() + v * kLanes);
    }
  }

  static HWY_INLINE void load(const float* y, hn::Vec<Wide> (&sums)[2]) {
    for (std::size_t v = 0; v < 2; ++v) sums[v] = hn::LoadU(Wide(), y + v * kLanes);
  }

  static HWY_INLINE void store(const hn::Vec<Wide> (&sums)[2], float* y) {
    for (std::size_t v = 0; v < 2; ++v) hn::StoreU(sums[v], Wide(), y + v * kLanes);
  }
};

template <class Block>
class FourKernel {
 public:
  static constexpr std::size_t kTileRows = FourBlock::kRows;
  static constexpr std::size_t kTilePanels = 1;

  FourKernel(const FourRows& x, const Block* panels, std::size_t panel_stride, Start start)
      : x_(x), panels_(panels), panel_stride_(panel_stride), start_(start) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    static_assert(kPanels == 1 && kVecsPerPanel == 2);
    const Wide d;
    const Block* HWY_RESTRICT weights = panels_ + panel * panel_stride_;
    const FourBlock* HWY_RESTRICT x = x_.row(row / FourBlock::kRows).data();  // a tile's first row
    const std::size_t n_blocks = x_.cols();
    hn::Vec<Wide> sum[kRows][2];
    for (std::size_t r = 0; r < kRows; ++r) {
      if (start_ == Start::kZero) {
        sum[r][0] = sum[r][1] = hn::Zero(d);
      } else {
        Codes<Block>::load(y + r * y_stride, sum[r]);
      }
    }
    for (std::size_t b = 0; b < n_blocks; ++b, ++weights, ++x) {
      if constexpr (kRows == 1) prefetch(weights + kBytesAhead / sizeof(Block), sizeof(Block));
      hn::Vec<Ints> exact[kRows][2];
      for (std::size_t r = 0; r < kRows; ++r) {
        // What the offset of the weights adds is taken off beforehand.
        exact[r][0] = exact[r][1] =
            hn::ShiftLeft<Codes<Block>::kOffsetBits>(hn::Set(Ints(), x->minus_sums[r]));
      }
#pragma GCC unroll 4
      for (std::size_t group = 0; group < kScaleBlock / 8; ++group) {
        add_group<0>(x->fours, *weights, group, exact);
        add_group<1>(x->fours, *weights, group, exact);
      }
      hn::Vec<Wide> scales[2];
      Codes<Block>::load_scales(*weights, scales);
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto x_scale = hn::Set(d, x->scales[r]);
        for (std::size_t v = 0; v < 2; ++v) {
          sum[r][v] =
              hn::MulAdd(hn::ConvertTo(d, exact[r][v]), hn::Mul(x_scale, scales[v]), sum[r][v]);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) Codes<Block>::store(sum[r], y + r * y_stride);
  }

 private:
  template <std::size_t kHalf, std::size_t kRows>
  static HWY_INLINE void add_group(const decltype(FourBlock::fours)& fours, const Block& weights,
                                   std::size_t group, hn::Vec<Ints> (&exact)[kRows][2]) {
    hn::Vec<Words> w[2];
    Codes<Block>::template load<kHalf>(weights, group, w);
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto four = hn::Set(Ints(), fours[r][2 * group + kHalf]);
      for (std::size_t v = 0; v < 2; ++v) exact[r][v] = add_fours(four, w[v], exact[r][v]);
    }
  }

  FourRows x_;
  const Block* panels_;
  std::size_t panel_stride_;
  Start start_;
};

void pairs_product(const PairRows& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) {
  for_tiles(PairKernel(x, panels, panel_stride, start), y, start);
}

template <class Block>
void fours_product(const FourRows& x, const Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) {
  for_tiles(FourKernel<Block>(x, panels, panel_stride, start), y, start);
}

HWY_INLINE void block_to_pairs(const float* x, std::uint32_t* pairs) {
  const Wide d;
  const hn::Rebind<std::uint16_t, Wide> halves;
  const hn::Repartition<std::uint32_t, decltype(halves)> words;
  for (std::size_t i = 0; i < kScaleBlock; i += kLanes) {
    const auto rounded = hn::TruncateTo(halves, nearest_bf16_or_nan(hn::LoadU(d, x + i)));
    hn::StoreU(hn::RotateRight<16>(hn::BitCast(words, rounded)), words, pairs + i / 2);
  }
}

void row_to_pairs(std::span<const float> x, std::size_t row, std::span<PairBlock> blocks) {
  for_blocks(x, [&](std::size_t b, const float* block) {
    block_to_pairs(block, blocks[b].pairs[row].data());
  });
}

template <typename T>
void panel_pairs_product(base::MatView<const float> x, const Panels<T>& panels,
                         base::MatView<float> y, Start start) {
  PairWords words;
  for (std::size_t row = 0; row < x.rows(); ++row) {
    for_blocks(x.row(row), [&](std::size_t b, const float* block) {
      block_to_pairs(block, words.words[row] + b * (kScaleBlock / 2));
    });
  }
  for_tiles(PairPanelKernel<T>(words, x.cols(), panels, start), y, start);
}

HWY_INLINE void block_to_fours(const float* x, std::size_t row, FourBlock& block) {
  const hn::Rebind<std::int8_t, Wide> bytes;
  HWY_ALIGN static constexpr std::int8_t kOrder[16] = {0, 4,  1, 5,  2,  6,  3,  7,
                                                       8, 12, 9, 13, 10, 14, 11, 15};
  const auto order = hn::Load(bytes, kOrder);
  hn::Vec<Ints> codes[kScaleBlock / kLanes];
  block.scales[row] = block_codes<127>(x, codes);
  auto* const to = reinterpret_cast<std::int8_t*>(block.fours[row].data());
  auto sum = hn::Zero(Ints());
  for (std::size_t v = 0; v < kScaleBlock / kLanes; ++v) {
    sum = hn::Sub(sum, codes[v]);
    hn::StoreU(hn::TableLookupBytes(hn::DemoteTo(bytes, codes[v]), order), bytes, to + v * kLanes);
  }
  block.minus_sums[row] = hn::GetLane(hn::SumOfLanes(Ints(), sum));
}

void row_to_fours(std::span<const float> x, std::size_t row, std::span<FourBlock> blocks) {
  for_blocks(x, [&](std::size_t b, const float* block) { block_to_fours(block, row, blocks[b]); });
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longreach::kernels {

#if !(HWY_TARGETS & HWY_AVX3)
// Stand-ins where nothing is compiled for that target: no path asks for them.
namespace N_AVX3 {
template <typename... Arguments>
void row_to_pairs(const Arguments&...) {
  LR_CHECK(false);
}
template <typename... Arguments>
void row_to_fours(const Arguments&...) {
  LR_CHECK(false);
}
template <typename... Arguments>
void pairs_product(const Arguments&...) {
  LR_CHECK(false);
}
template <typename... Arguments>
void panel_pairs_product(const Arguments&...) {
  LR_CHECK(false);
}
template <typename... Arguments>
void fours_product(const Arguments&...) {
  LR_CHECK(false);
}
}  // namespace N_AVX3
#endif

namespace {

HWY_EXPORT(round_row);

template <typename T>
void multiply_rounded(base::MatView<const float> x, const Panels<T>& panels, base::MatView<float> y,
                      Start start) {
  LR_DCHECK(x.rows() <= kRoundedRows && x.cols() <= kRoundedSteps);
  if (uses_bf16_pairs()) return N_AVX3::panel_pairs_product(x, panels, y, start);
  std::array<float, kRoundedRows * kRoundedSteps> numbers;
  const base::MatView<float> rounded(numbers.data(), x.rows(), x.cols());
  for (std::size_t row = 0; row < x.rows(); ++row) round_to_bf16(x.row(row), rounded.row(row));
  panel_product(rounded, panels, y, start);
}

}  // namespace

void round_to_bf16(std::span<const float> x, std::span<float> rounded) noexcept {
  LR_DCHECK(x.size() == rounded.size());
  HWY_DYNAMIC_DISPATCH(round_row)(x, rounded);
}

void to_pairs(std::span<const float> x, std::size_t row, std::span<PairBlock> blocks) noexcept {
  LR_DCHECK(row < PairBlock::kRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock);
  N_AVX3::row_to_pairs(x, row, blocks);
}

void to_fours(std::span<const float> x, std::size_t row, std::span<FourBlock> blocks) noexcept {
  LR_DCHECK(row < FourBlock::kRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock);
  N_AVX3::row_to_fours(x, row, blocks);
}

void block_product(const PairRows& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  N_AVX3::pairs_product(x, panels, panel_stride, y, start);
}

void block_product(const FourRows& x, const Int8Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  N_AVX3::fours_product(x, panels, panel_stride, y, start);
}

void block_product(const FourRows& x, const Int4Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  N_AVX3::fours_product(x, panels, panel_stride, y, start);
}

void rounded_panel_product(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                           base::MatView<float> y, Start start) noexcept {
  multiply_rounded(x, panels, y, start);
}

void rounded_panel_product(base::MatView<const float> x, const Panels<std::int8_t>& panels,
                           base::MatView<float> y, Start start) noexcept {
  multiply_rounded(x, panels, y, start);
}

}  // namespace longreach::kernels
#endif
