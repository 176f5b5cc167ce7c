#include "kernels/matmul/amx_product.hpp"

#include "tests/support/amx_model.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace longreach::kernels {
namespace {

using base::Bf16;
using base::to_bf16;
using test::AmxModel;
using test::Random;

/// Three tiles of the largest size: sums, activations, weights.
constexpr TileConfig kThreeTiles = [] {
  TileConfig config;
  for (const std::size_t tile : {0U, 1U, 2U}) {
    config.rows[tile] = 16;
    config.row_bytes[tile] = 64;
  }
  return config;
}();

/// What one instruction makes of a sum, a row of 32 activations and a column of 32 weights.
float add_products(float sum, const std::array<float, 32>& x, const std::array<float, 32>& w) {
  std::array<float, 256> sums{};
  std::array<Bf16, 512> a{}, b{};
  sums[0] = sum;
  for (std::size_t k = 0; k < 32; ++k) {
    a[k] = to_bf16(x[k]);
    b[k / 2 * 32 + k % 2] = to_bf16(w[k]);
  }
  AmxModel::configure(kThreeTiles);
  AmxModel::load<0>(sums.data(), 64);
  AmxModel::load<1>(a.data(), 64);
  AmxModel::load<2>(b.data(), 64);
  AmxModel::add_bf16_products<0, 1, 2>();
  AmxModel::store<0>(sums.data(), 64);
  AmxModel::release();
  EXPECT_EQ(std::count_if(sums.begin(), sums.end(), [](float s) { return s != 0; }), sums[0] != 0);
  return sums[0];
}

TEST(AmxModel, SumsEvenAndOddInputsApartBeforeTheyAreAdded) {
  // 2^24 + 1 is 2^24 in f32, so each order of additions has a sum of its own.
  const float large = 0x1p24F;
  EXPECT_EQ(add_products(0, {large, 0, 1, 0, -large}, {1, 1, 1, 1, 1}), 0);
  EXPECT_EQ(add_products(0, {large, 1, 0, 1, -large}, {1, 1, 1, 1, 1}), 2);
  EXPECT_EQ(add_products(large, {1, 1}, {1, 1}), large + 2);
  EXPECT_EQ(add_products(large, {1, 0, -large}, {1, 0, 1}), 1);
  EXPECT_EQ(add_products(0, {1, large, 0, 0, 0, -large}, {1, 1, 1, 1, 1, 1}), 1);
}

TEST(AmxModel, TakesAndLeavesNoDenormals) {
  const float least = std::numeric_limits<float>::min(), tiny = least / 2;
  EXPECT_EQ(add_products(0, {tiny}, {0x1p100F}), 0);
  EXPECT_EQ(add_products(0, {0x1p100F}, {tiny}), 0);
  EXPECT_EQ(add_products(0, {least}, {0.5F}), 0);
  EXPECT_EQ(add_products(tiny, {0}, {0}), 0);
  EXPECT_EQ(add_products(0, {least}, {1}), least);
  EXPECT_EQ(add_products(-1.5F * least, {least}, {1}), 0);
}

TEST(AmxModel, KeepsProductsWhole) {
  // (1 + 2^-7)^2 has 15 bits.
  EXPECT_EQ(add_products(-1, {1 + 0x1p-7F}, {1 + 0x1p-7F}), 0x1p-6F + 0x1p-14F);
}

/// The same of instructions for bytes: a row of 64 activations, which are signed or not, and a
/// column of 64 weights.
template <bool kSigned>
std::int32_t add_byte_products(std::int32_t sum, const std::array<int, 64>& x,
                               const std::array<int, 64>& w) {
  std::array<std::int32_t, 256> sums{};
  std::array<std::uint8_t, 1024> a{}, b{};
  sums[0] = sum;
  for (std::size_t k = 0; k < 64; ++k) {
    a[k] = static_cast<std::uint8_t>(x[k]);
    b[k / 4 * 64 + k % 4] = static_cast<std::uint8_t>(w[k]);
  }
  AmxModel::configure(kThreeTiles);
  AmxModel::load<0>(sums.data(), 64);
  AmxModel::load<1>(a.data(), 64);
  AmxModel::load<2>(b.data(), 64);
  if constexpr (kSigned) {
    AmxModel::add_signed_products<0, 1, 2>();
  } else {
    AmxModel::add_unsigned_products<0, 1, 2>();
  }
  AmxModel::store<0>(sums.data(), 64);
  AmxModel::release();
  EXPECT_EQ(std::count_if(sums.begin(), sums.end(), [](int s) { return s != 0; }), sums[0] != 0);
  return sums[0];
}

std::array<int, 64> all(int number) {
  std::array<int, 64> numbers;
  numbers.fill(number);
  return numbers;
}

TEST(AmxModel, MultipliesBytesOfEitherKind) {
  EXPECT_EQ(add_byte_products<true>(5, {-128, 127, -1}, {-128, -128, 127}),
            5 + 16384 - 16256 - 127);
  EXPECT_EQ(add_byte_products<true>(0, {255, 128}, {1, 1}), -1 - 128);
  EXPECT_EQ(add_byte_products<false>(5, {255, 128, 127}, {-128, 127, -1}), 5 - 32640 + 16256 - 127);
  EXPECT_EQ(add_byte_products<false>(0, {1, 1}, {255, 128}), -1 - 128);
  EXPECT_EQ(add_byte_products<true>(0, all(-128), all(-128)), 64 * 16384);
  EXPECT_EQ(add_byte_products<true>(0, all(-128), all(127)), -64 * 16256);
  EXPECT_EQ(add_byte_products<false>(0, all(255), all(127)), 64 * 32385);
  EXPECT_EQ(add_byte_products<false>(0, all(255), all(-128)), -64 * 32640);
  for (std::size_t k = 0; k < 64; ++k) {
    std::array<int, 64> one{}, numbers;
    one[k] = 1;
    for (std::size_t i = 0; i < 64; ++i) numbers[i] = static_cast<int>(i) + 1;
    EXPECT_EQ(add_byte_products<true>(0, one, numbers), numbers[k]);
    EXPECT_EQ(add_byte_products<false>(0, numbers, one), numbers[k]);
  }
}

TEST(AmxModel, SumsOfBytesWrapAround) {
  constexpr auto kLargest = std::numeric_limits<std::int32_t>::max();
  constexpr auto kLeast = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(add_byte_products<true>(kLargest, {1}, {1}), kLeast);
  EXPECT_EQ(add_byte_products<false>(kLeast, {1}, {-1}), kLargest);
}

TEST(AmxModelDeathTest, RefusesTilesThatDoNotFit) {
  TileConfig config = kThreeTiles;
  config.rows[2] = 15;
  EXPECT_DEATH(
      {
        AmxModel::configure(config);
        (AmxModel::add_bf16_products<0, 1, 2>());
      },
      "");
  EXPECT_DEATH(
      {
        AmxModel::configure(config);
        (AmxModel::add_signed_products<0, 1, 2>());
      },
      "");
  EXPECT_DEATH(AmxModel::zero<0>(), "");  // nothing is configured
}

template <std::size_t kTerms>
void expect_model_of_terms(Random& random) {
  for (const float size : {1.0F, 1e-19F, 1e18F}) {  // all normal, some denormal, some infinite
    for (const std::size_t n_rows : {1, 15, 16, 17, 32, 33, 50}) {
      const std::size_t n_groups = (n_rows + 15) / 16, n_blocks = 3, n_out = 75, n_panels = 3;
      std::vector<TermBlock<kTerms>> terms(n_groups * n_blocks);
      const base::MatView<TermBlock<kTerms>> x(terms.data(), n_groups, n_blocks);
      for (std::size_t r = 0; r < n_rows; ++r) {
        to_terms(random.normal(n_blocks * kScaleBlock, 0, size), r % 16, x.row(r / 16));
      }
      std::vector<Bf16Block> panels(n_panels * n_blocks);
      for (Bf16Block& block : panels) {
        for (auto& pairs : block.weights) {
          for (auto& pair : pairs) {
            const auto weights = random.normal(2, 0, size);
            pair = {to_bf16(weights[0]), to_bf16(weights[1])};
          }
        }
      }
      for (const Start start : {Start::kZero, Start::kContinue}) {
        const auto before = random.normal(n_rows * n_out, 0, size);
        auto got = before, want = before;
        block_product(x, panels.data(), n_blocks, {got.data(), n_rows, n_out}, start);
        AmxKernel<AmxModel, kTerms>(x, panels.data(), n_blocks,
                                    start)({want.data(), n_rows, n_out});
        ASSERT_TRUE(test::same_bits(got, want)) << n_rows << " rows, size " << size;
      }
    }
  }
}

TEST(AmxProduct, Bf16InstructionsAgreeWithTheModelInEveryBit) {
  if (!amx_available()) GTEST_SKIP() << "this CPU has no AMX";
  Random random;
  expect_model_of_terms<1>(random);
  expect_model_of_terms<2>(random);
}

template <class Block>
void expect_model_of_bytes(Random& random) {
  // More blocks than are unpacked at a time.
  const std::size_t n_blocks = 19, n_out = 75, n_panels = 3;
  for (const std::size_t n_rows : {1, 15, 16, 17, 32, 33, 50}) {
    const std::size_t n_groups = (n_rows + 15) / 16;
    std::vector<ByteBlock> bytes(n_groups * n_blocks);
    const base::MatView<ByteBlock> x(bytes.data(), n_groups, n_blocks);
    for (std::size_t r = 0; r < n_rows; ++r) {
      to_bytes(random.normal(n_blocks * kScaleBlock), r % 16, x.row(r / 16));
    }
    std::vector<Block> panels(n_panels * n_blocks);
    for (Block& block : panels) {
      BlockWeights weights;
      for (auto& row : weights) {
        const auto numbers = random.normal(kPanelCols);
        std::copy(numbers.begin(), numbers.end(), row.begin());
      }
      quantize(weights, block);
    }
    for (const Start start : {Start::kZero, Start::kContinue}) {
      const auto before = random.normal(n_rows * n_out);
      auto got = before, want = before;
      block_product(x, panels.data(), n_blocks, {got.data(), n_rows, n_out}, start);
      AmxByteKernel<AmxModel, Block>(x, panels.data(), n_blocks,
                                     start)({want.data(), n_rows, n_out});
      ASSERT_TRUE(test::same_bits(got, want)) << n_rows << " rows";
    }
  }
}

TEST(AmxProduct, ByteInstructionsAgreeWithTheModelInEveryBit) {
  if (!amx_available()) GTEST_SKIP() << "this CPU has no AMX";
  Random random;
  expect_model_of_bytes<Int8Block>(random);
  expect_model_of_bytes<Int4Block>(random);
}

}  // namespace
}  // namespace longreach::kernels
