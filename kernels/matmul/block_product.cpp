#include "kernels/matmul/block_product.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/block_product.cpp"
#include "kernels/simd/isa.hpp"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "kernels/matmul/blocks-inl.hpp"
#include "kernels/matmul/tiles-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

using Ints = hn::Rebind<std::int32_t, Wide>;

// Codes of two inputs that follow one another, for as many columns as there are lanes; their
// products with an activation's two; and the sums of these. Some paths put the two products into a
// sum each, so there are two sums, to be added at the end.
#if HWY_TARGET == HWY_SCALAR

struct Pairs {
  std::int32_t first, second;
};

HWY_INLINE Pairs broadcast(const std::int16_t* pair) { return {pair[0], pair[1]}; }

template <std::size_t kPair, class Block>
HWY_INLINE Pairs codes(const Block& block, std::size_t group, std::size_t col) {
  const std::size_t input = 8 * group + 2 * kPair;
  return {code_of(block, input, col), code_of(block, input + 1, col)};
}

struct PairProducts {
  static HWY_INLINE void add(const Pairs& x, const Pairs& w, hn::Vec<Ints>& sum, hn::Vec<Ints>&) {
    sum.raw += x.first * w.first + x.second * w.second;
  }
};

HWY_INLINE hn::Vec<Ints> whole_sum(hn::Vec<Ints> sum, hn::Vec<Ints>) { return sum; }

#else

using Shorts = hn::Repartition<std::int16_t, Wide>;
using Pairs = hn::Vec<Shorts>;

HWY_INLINE Pairs broadcast(const std::int16_t* pair) {
  std::int32_t bits;
  std::memcpy(&bits, pair, sizeof(bits));
  return hn::BitCast(Shorts(), hn::Set(Ints(), bits));
}

template <std::size_t kPair>
HWY_INLINE Pairs codes(const Int8Block& block, std::size_t group, std::size_t col) {
  const hn::Rebind<std::int8_t, Shorts> bytes;
  return hn::PromoteTo(Shorts(), hn::LoadU(bytes, block.codes[4 * group + kPair][col].data()));
}

template <std::size_t kPair>
HWY_INLINE Pairs codes(const Int4Block& block, std::size_t group, std::size_t col) {
  const hn::RebindToUnsigned<Shorts> words;
  const auto four = hn::BitCast(Shorts(), hn::LoadU(words, block.codes[group][col].data()));
  return hn::ShiftRight<12>(hn::ShiftLeft<12 - 4 * kPair>(four));
}

struct PairProducts {
  static HWY_INLINE void add(const Pairs& x, const Pairs& w, hn::Vec<Ints>& sum,
                             hn::Vec<Ints>& other) {
    sum = hn::ReorderWidenMulAccumulate(Ints(), x, w, sum, other);
#if HWY_ARCH_X86 && HWY_COMPILER_GCC_ACTUAL
    // gcc would compute the products of several pairs before it adds them, and run out of
    // registers.
    asm("" : "+v"(sum.raw));
#endif
  }
};

#if HWY_TARGET == HWY_AVX3
/// The same in one instruction. Written out, as the compiler may not use it in code for AVX3.
struct VnniPairProducts {
  static HWY_INLINE void add(const Pairs& x, const Pairs& w, hn::Vec<Ints>& sum, hn::Vec<Ints>&) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(w.raw));
  }
};
#endif

HWY_INLINE hn::Vec<Ints> whole_sum(hn::Vec<Ints> sum, hn::Vec<Ints> other) {
  return hn::RearrangeToOddPlusEven(sum, other);
}

#endif

template <class Block, class Products>
class BlockKernel {
 public:
  // As many sums as the registers of a path hold; divides kFixedRows.
  static constexpr std::size_t kTileRows = kLanes >= 8 ? 6 : 1;
  static constexpr std::size_t kTilePanels = 1;

  BlockKernel(const FixedRows& x, const Block* data, std::size_t panel_stride, Start start)
      : x_(x), data_(data), panel_stride_(panel_stride), start_(start) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    // Vectors of columns at a time; with 16 lanes a panel has just two.
    constexpr std::size_t kVecs = kRows == 1 || kLanes == 1 ? kPanels * kPanelCols / kLanes : 2;
    for (std::size_t col = 0; col < kPanels * kPanelCols; col += kVecs * kLanes) {
      columns<kRows, kVecs>(row, data_ + (panel + col / kPanelCols) * panel_stride_,
                            col % kPanelCols, y + col, y_stride);
    }
  }

 private:
  /// A tile of kVecs vectors of columns, from column `col` of a panel on.
  template <std::size_t kRows, std::size_t kVecs>
  HWY_INLINE void columns(std::size_t row, const Block* HWY_RESTRICT panel, std::size_t col,
                          float* HWY_RESTRICT y, std::size_t y_stride) const {
    const Wide d;
    const FixedBlock* HWY_RESTRICT x = x_.row(row / kFixedRows).data();
    const std::size_t first = row % kFixedRows, n_blocks = x_.cols();
    for (std::size_t b = 0; b < n_blocks; ++b, ++panel, ++x) {
      if constexpr (kRows == 1) prefetch(panel + kBytesAhead / sizeof(Block), sizeof(Block));
      hn::Vec<Ints> sum[kRows][kVecs], other[kRows][kVecs];
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t v = 0; v < kVecs; ++v) sum[r][v] = other[r][v] = hn::Zero(Ints());
      }
      const std::int16_t* HWY_RESTRICT x_codes = x->codes[first].data();
#pragma GCC unroll 4
      for (std::size_t group = 0; group < kScaleBlock / 8; ++group) {
        add_pair<0>(x_codes + 8 * group, panel, group, col, sum, other);
        add_pair<1>(x_codes + 8 * group, panel, group, col, sum, other);
        add_pair<2>(x_codes + 8 * group, panel, group, col, sum, other);
        add_pair<3>(x_codes + 8 * group, panel, group, col, sum, other);
      }
      hn::Vec<Wide> scale[kVecs];
      for (std::size_t v = 0; v < kVecs; ++v) {
        scale[v] = load(d, block_of(panel, v).scales.data() + col + col_of(v));
      }
      const bool from_zero = b == 0 && start_ == Start::kZero;
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto x_scale = hn::Set(d, x->scales[first + r]);
        for (std::size_t v = 0; v < kVecs; ++v) {
          float* HWY_RESTRICT to = y + r * y_stride + v * kLanes;
          const auto exact = hn::ConvertTo(d, whole_sum(sum[r][v], other[r][v]));
          const auto before = from_zero ? hn::Zero(d) : hn::LoadU(d, to);
          hn::StoreU(hn::MulAdd(exact, hn::Mul(x_scale, scale[v]), before), d, to);
        }
      }
    }
  }

  /// Inputs 8 group + 2 kPair, + 1 of a block.
  template <std::size_t kPair, std::size_t kRows, std::size_t kVecs>
  HWY_INLINE void add_pair(const std::int16_t* HWY_RESTRICT x, const Block* HWY_RESTRICT panel,
                           std::size_t group, std::size_t col, hn::Vec<Ints> (&sum)[kRows][kVecs],
                           hn::Vec<Ints> (&other)[kRows][kVecs]) const {
    Pairs w[kVecs];
    for (std::size_t v = 0; v < kVecs; ++v) {
      w[v] = codes<kPair>(block_of(panel, v), group, col + col_of(v));
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const Pairs x_pair = broadcast(x + r * kScaleBlock + 2 * kPair);
      for (std::size_t v = 0; v < kVecs; ++v) {
        Products::add(x_pair, w[v], sum[r][v], other[r][v]);
      }
    }
  }

  // Where vector v of a tile lies: a tile is part of a panel, or several whole ones.
  HWY_INLINE const Block& block_of(const Block* panel, std::size_t v) const {
    return panel[v * kLanes / kPanelCols * panel_stride_];
  }
  static HWY_INLINE std::size_t col_of(std::size_t v) { return v * kLanes % kPanelCols; }

  FixedRows x_;
  const Block* data_;
  std::size_t panel_stride_;
  Start start_;
};

template <class Block>
HWY_INLINE void product(const FixedRows& x, const Block* data, std::size_t panel_stride,
                        base::MatView<float> y, Start start) {
#if HWY_TARGET == HWY_AVX3
  if (uses_vnni()) {
    for_tiles(BlockKernel<Block, VnniPairProducts>(x, data, panel_stride, start), y, start);
    return;
  }
#endif
  for_tiles(BlockKernel<Block, PairProducts>(x, data, panel_stride, start), y, start);
}

void int8_product(const FixedRows& x, const Int8Block* data, std::size_t panel_stride,
                  base::MatView<float> y, Start start) {
  product(x, data, panel_stride, y, start);
}

void int4_product(const FixedRows& x, const Int4Block* data, std::size_t panel_stride,
                  base::MatView<float> y, Start start) {
  product(x, data, panel_stride, y, start);
}

template <int kMost>
HWY_INLINE void row_to_codes(std::span<const float> x, std::size_t row,
                             std::span<FixedBlock> blocks) {
  const hn::Rebind<std::int16_t, Wide> half;
  for_blocks(x, [&](std::size_t b, const float* block) {
    hn::Vec<Ints> codes[kScaleBlock / kLanes];
    blocks[b].scales[row] = block_codes<kMost>(block, codes);
    for (std::size_t v = 0; v < kScaleBlock / kLanes; ++v) {
      hn::StoreU(hn::DemoteTo(half, codes[v]), half, blocks[b].codes[row].data() + v * kLanes);
    }
  });
}

void row_to_fixed(std::span<const float> x, std::size_t row, std::span<FixedBlock> blocks) {
  row_to_codes<32767>(x, row, blocks);
}

void row_to_small_fixed(std::span<const float> x, std::size_t row, std::span<FixedBlock> blocks) {
  row_to_codes<127>(x, row, blocks);
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(int8_product);
HWY_EXPORT(int4_product);
HWY_EXPORT(row_to_fixed);
HWY_EXPORT(row_to_small_fixed);

}  // namespace

void to_fixed(std::span<const float> x, std::size_t row, std::span<FixedBlock> blocks) noexcept {
  LR_DCHECK(row < kFixedRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock);
  HWY_DYNAMIC_DISPATCH(row_to_fixed)(x, row, blocks);
}

void to_small_fixed(std::span<const float> x, std::size_t row,
                    std::span<FixedBlock> blocks) noexcept {
  LR_DCHECK(row < kFixedRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock);
  HWY_DYNAMIC_DISPATCH(row_to_small_fixed)(x, row, blocks);
}

void block_product(const FixedRows& x, const Int8Block* data, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  HWY_DYNAMIC_DISPATCH(int8_product)(x, data, panel_stride, y, start);
}

void block_product(const FixedRows& x, const Int4Block* data, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  HWY_DYNAMIC_DISPATCH(int4_product)(x, data, panel_stride, y, start);
}

}  // namespace longreach::kernels
#endif
