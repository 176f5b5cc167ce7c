#include "kernels/matmul/byte_blocks.hpp"

#include "kernels/matmul/block_product.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace longreach::kernels {
namespace {

using test::Random;

class ByteBlocks : public test::EveryIsa {};
LR_ON_EVERY_ISA(ByteBlocks);

TEST_P(ByteBlocks, ActivationsHaveTheCodesAndScalesOfToFixed) {
  Random random;
  for (const std::size_t n : {1, 31, 32, 33, 100, 768}) {
    auto x = random.normal(n);
    if (n == 100) x[40] = std::numeric_limits<float>::quiet_NaN();
    const std::size_t n_blocks = (n + kScaleBlock - 1) / kScaleBlock;
    std::vector<FixedBlock> fixed(n_blocks);
    to_fixed(x, 0, fixed);
    for (const std::size_t row : {0, 5, 15}) {
      std::vector<ByteBlock> bytes(n_blocks);
      to_bytes(x, row, bytes);
      for (std::size_t b = 0; b < n_blocks; ++b) {
        EXPECT_TRUE(test::same_bits({&bytes[b].scales[row], 1}, {&fixed[b].scales[0], 1}));
        for (std::size_t k = 0; k < kScaleBlock; ++k) {
          ASSERT_EQ(256 * bytes[b].high[row][k] + bytes[b].low[row][k], fixed[b].codes[0][k])
              << n << ", block " << b << ", input " << k;
        }
      }
    }
  }
}

/// A block whose bytes are all random, but for scales.
template <class Block>
Block random_block(Random& random) {
  Block block;
  for (auto& scale : block.scales) scale = base::to_bf16(random.normal(1)[0]);
  std::byte* const codes = reinterpret_cast<std::byte*>(&block.codes);
  for (std::size_t i = 0; i < sizeof(block.codes); ++i) {
    codes[i] = static_cast<std::byte>(random.whole(0, 255));
  }
  return block;
}

template <class Block>
void expect_same_weights(Random& random) {
  const auto block = random_block<Block>(random);
  ByteWeights weights;
  unpack(block, weights);
  for (std::size_t c = 0; c < kPanelCols; ++c) {
    EXPECT_EQ(base::to_float(weights.scales[c]), base::to_float(block.scales[c]));
    for (std::size_t k = 0; k < kScaleBlock; ++k) {
      ASSERT_EQ(weights.codes[k / 4][c][k % 4], code_of(block, k, c))
          << "input " << k << ", column " << c;
    }
  }
}

TEST_P(ByteBlocks, UnpackedWeightsAreTheSame) {
  Random random;
  expect_same_weights<Int8Block>(random);
  expect_same_weights<Int4Block>(random);
}

TEST_P(ByteBlocks, SumsAreAddedWholeToTheRowsThatAreThere) {
  // Scales are powers of two, so that the sum's conversion to f32 and the last addition round
  // alone, on paths without fused multiply-add, too.
  const auto high = [](std::size_t r, std::size_t c) {
    return (r % 2 == 0 ? 1 : -1) * (32 * 128 * 127 - static_cast<int>(31 * r + c));
  };
  const auto low = [](std::size_t r, std::size_t c) {
    return (c % 3 == 0 ? -1 : 1) * (32 * 255 * 127 - static_cast<int>(r + 7 * c));
  };
  ByteSums sums;
  ByteBlock x{};
  ByteWeights weights{};
  ByteOutputs outputs;
  for (std::size_t r = 0; r < ByteBlock::kRows; ++r) {
    x.scales[r] = 1.0F / static_cast<float>(1U << r);
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      weights.scales[c] = base::to_bf16(static_cast<float>(1U << c % 8));
      sums.high[r][c] = high(r, c);
      sums.low[r][c] = low(r, c);
      outputs.y[r][c] = static_cast<float>(r + c);
    }
  }
  const std::size_t n_rows = 11;
  add_sums(sums, x, weights, n_rows, outputs);
  for (std::size_t r = 0; r < ByteBlock::kRows; ++r) {
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      const auto before = static_cast<float>(r + c);
      const auto sum = static_cast<float>(256 * high(r, c) + low(r, c));
      const float scaled = sum * x.scales[r] * base::to_float(weights.scales[c]);
      ASSERT_EQ(outputs.y[r][c], r < n_rows ? before + scaled : before) << r << ", " << c;
    }
  }
}

}  // namespace
}  // namespace longreach::kernels
