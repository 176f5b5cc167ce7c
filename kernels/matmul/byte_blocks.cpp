#include "kernels/matmul/byte_blocks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/byte_blocks.cpp"
#include "kernels/matmul/block_product.hpp"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

using Ints = hn::Rebind<std::int32_t, Wide>;
using Words = hn::Rebind<std::uint32_t, Wide>;  // four codes of a column each

/// Two codes of each column, from bytes, in the lower half of a word.
HWY_INLINE hn::Vec<Words> load_pairs(const std::int8_t* from) {
  const hn::Rebind<std::uint16_t, Words> half;
  return hn::PromoteTo(Words(), hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from)));
}

void unpack_int8(const Int8Block& block, ByteWeights& weights) {
  weights.scales = block.scales;
  for (std::size_t four = 0; four < weights.codes.size(); ++four) {
    for (std::size_t col = 0; col < kPanelCols; col += kLanes) {
      const auto first = load_pairs(block.codes[2 * four][col].data());
      const auto second = load_pairs(block.codes[2 * four + 1][col].data());
      hn::StoreU(hn::Or(first, hn::ShiftLeft<16>(second)), Words(),
                 reinterpret_cast<std::uint32_t*>(weights.codes[four][col].data()));
    }
  }
}

/// Four codes of 4 bits, from bits 0, 16, 4 and 20 on, as bytes.
HWY_INLINE hn::Vec<Words> spread(hn::Vec<Words> codes) {
  const Words d;
  const auto first = hn::And(codes, hn::Set(d, 0xfU));
  const auto second = hn::And(hn::ShiftRight<8>(codes), hn::Set(d, 0xf00U));
  const auto third = hn::And(hn::ShiftLeft<12>(codes), hn::Set(d, 0xf0000U));
  const auto fourth = hn::And(hn::ShiftLeft<4>(codes), hn::Set(d, 0xf000000U));
  const auto bytes = hn::Or(hn::Or(first, second), hn::Or(third, fourth));
  // A sign, bit 3 of a byte, is wanted in bits 4 to 7, too: 32 - 2 times its value.
  const auto signs = hn::And(bytes, hn::Set(d, 0x8080808U));
  return hn::Or(bytes, hn::Sub(hn::ShiftLeft<5>(signs), hn::ShiftLeft<1>(signs)));
}

void unpack_int4(const Int4Block& block, ByteWeights& weights) {
  const Words d;
  weights.scales = block.scales;
  for (std::size_t eight = 0; eight < block.codes.size(); ++eight) {
    for (std::size_t col = 0; col < kPanelCols; col += kLanes) {
      const auto codes =
          hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(block.codes[eight][col].data()));
      hn::StoreU(spread(codes), d,
                 reinterpret_cast<std::uint32_t*>(weights.codes[2 * eight][col].data()));
      hn::StoreU(spread(hn::ShiftRight<8>(codes)), d,
                 reinterpret_cast<std::uint32_t*>(weights.codes[2 * eight + 1][col].data()));
    }
  }
}

void add_sums(const ByteSums& sums, const ByteBlock& x, const ByteWeights& weights,
              std::size_t n_rows, ByteOutputs& outputs) {
  const Wide d;
  for (std::size_t col = 0; col < kPanelCols; col += kLanes) {
    const auto scale = load(d, weights.scales.data() + col);
    for (std::size_t r = 0; r < n_rows; ++r) {
      const auto high = hn::LoadU(Ints(), sums.high[r].data() + col);
      const auto low = hn::LoadU(Ints(), sums.low[r].data() + col);
      const auto exact = hn::ConvertTo(d, hn::Add(hn::ShiftLeft<8>(high), low));
      const auto scales = hn::Mul(hn::Set(d, x.scales[r]), scale);
      float* const y = outputs.y[r].data() + col;
      hn::StoreU(hn::MulAdd(exact, scales, hn::LoadU(d, y)), d, y);
    }
  }
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(unpack_int8);
HWY_EXPORT(unpack_int4);
HWY_EXPORT(add_sums);

void split_codes(std::span<const float> x, std::size_t row, std::span<ByteBlock> blocks,
                 decltype(to_fixed)& convert) {
  LR_DCHECK(row < ByteBlock::kRows && blocks.size() == (x.size() + kScaleBlock - 1) / kScaleBlock);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const std::size_t first = b * kScaleBlock;
    FixedBlock fixed;
    convert(x.subspan(first, std::min(kScaleBlock, x.size() - first)), 0, {&fixed, 1});
    blocks[b].scales[row] = fixed.scales[0];
    for (std::size_t k = 0; k < kScaleBlock; ++k) {
      const int code = fixed.codes[0][k];
      blocks[b].high[row][k] = static_cast<std::int8_t>(code >> 8);
      blocks[b].low[row][k] = static_cast<std::uint8_t>(code & 0xff);
    }
  }
}

}  // namespace

void to_bytes(std::span<const float> x, std::size_t row, std::span<ByteBlock> blocks) noexcept {
  split_codes(x, row, blocks, to_fixed);
}

void to_small_bytes(std::span<const float> x, std::size_t row,
                    std::span<ByteBlock> blocks) noexcept {
  split_codes(x, row, blocks, to_small_fixed);
}

void unpack(const Int8Block& block, ByteWeights& weights) noexcept {
  HWY_DYNAMIC_DISPATCH(unpack_int8)(block, weights);
}

void unpack(const Int4Block& block, ByteWeights& weights) noexcept {
  HWY_DYNAMIC_DISPATCH(unpack_int4)(block, weights);
}

void add_sums(const ByteSums& sums, const ByteBlock& x, const ByteWeights& weights,
              std::size_t n_rows, ByteOutputs& outputs) noexcept {
  LR_DCHECK(n_rows <= ByteBlock::kRows);
  HWY_DYNAMIC_DISPATCH(add_sums)(sums, x, weights, n_rows, outputs);
}

}  // namespace longreach::kernels
#endif
