#include "kernels/matmul/weight_blocks.hpp"

#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace longreach::kernels {
namespace {

using test::Random;

/// A block whose column c holds normal numbers times `deviations[c]`.
BlockWeights normal_weights(Random& random, const std::vector<float>& deviations) {
  BlockWeights weights;
  const auto values = random.normal(kScaleBlock * kPanelCols);
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      weights[k][c] = values[k * kPanelCols + c] * deviations[c % deviations.size()];
    }
  }
  return weights;
}

template <class Block>
double weight_of(const Block& block, std::size_t k, std::size_t c) {
  return static_cast<double>(base::to_float(block.scales[c])) * code_of(block, k, c);
}

float largest_of(const BlockWeights& weights, std::size_t col) {
  float largest = 0;
  for (const auto& row : weights) largest = std::max(largest, std::abs(row[col]));
  return largest;
}

template <class Block>
class WeightBlock : public testing::Test {};
using Blocks = testing::Types<Int8Block, Int4Block>;
TYPED_TEST_SUITE(WeightBlock, Blocks);

TYPED_TEST(WeightBlock, RoundTripErrsByAtMostWhatIsPromised) {
  Random random;
  const bool is_int4 = std::is_same_v<TypeParam, Int4Block>;
  // From numbers with few bits left to ones near the end of the range.
  for (int repeat = 0; repeat < 20; ++repeat) {
    const BlockWeights weights =
        normal_weights(random, {1, 0.02F, 1e-30F, 1e-36F, 1e-39F, 1e-41F, 1e-44F, 1e10F, 5e37F});
    TypeParam block;
    quantize(weights, block);
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      const double step = std::abs(static_cast<double>(base::to_float(block.scales[c])));
      // The scale is a quotient rounded to f32 and to 8 bits, the code one rounded to f32.
      const double half = step / 2 * (1 + 0x1p-15) + 0x1p-126;
      for (std::size_t k = 0; k < kScaleBlock; ++k) {
        const auto weight = static_cast<double>(weights[k][c]);
        const bool cut =
            is_int4 && weight / static_cast<double>(base::to_float(block.scales[c])) > 7.5;
        // Cut at 7 steps, while the largest weight, rounded down to 8 of them, may have 2^-8 more.
        const double bound = cut ? step * (1 + 0x1p-5) + 0x1p-126 : half;
        ASSERT_LE(std::abs(weight_of(block, k, c) - weight), bound)
            << weight << " in a column up to " << largest_of(weights, c);
      }
    }
  }
}

/// The worst that can be cut off: a scale rounded down by nearly half a step of bf16.
TEST(Int4WeightBlock, WeightOppositeToTheLargestLosesUpToOneScaleAndAThirtySecond) {
  BlockWeights weights{};
  weights[3][7] = -8.031F;
  weights[9][7] = 8.0309F;
  Int4Block block;
  quantize(weights, block);
  EXPECT_EQ(weight_of(block, 3, 7), -8);
  EXPECT_EQ(weight_of(block, 9, 7), 7);
}

TYPED_TEST(WeightBlock, LargestWeightHasTheLastCode) {
  Random random;
  const BlockWeights weights = normal_weights(random, {0.5F});
  TypeParam block;
  quantize(weights, block);
  const int last = std::is_same_v<TypeParam, Int4Block> ? 8 : 127;
  for (std::size_t c = 0; c < kPanelCols; ++c) {
    for (std::size_t k = 0; k < kScaleBlock; ++k) {
      if (std::abs(weights[k][c]) != largest_of(weights, c)) continue;
      EXPECT_EQ(std::abs(code_of(block, k, c)), last);
      EXPECT_EQ(weight_of(block, k, c) > 0, weights[k][c] > 0);
    }
  }
}

TYPED_TEST(WeightBlock, ZerosStayZeros) {
  const BlockWeights weights{};
  TypeParam block;
  quantize(weights, block);
  for (std::size_t c = 0; c < kPanelCols; ++c) {
    for (std::size_t k = 0; k < kScaleBlock; ++k) EXPECT_EQ(weight_of(block, k, c), 0);
  }
}

TYPED_TEST(WeightBlock, WhatIsNotFinitePoisonsItsColumnOnly) {
  Random random;
  const BlockWeights clean = normal_weights(random, {1});
  TypeParam want;
  quantize(clean, want);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    BlockWeights weights = clean;
    weights[17][5] = poison;
    TypeParam block;
    quantize(weights, block);
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      for (std::size_t k = 0; k < kScaleBlock; ++k) {
        if (c == 5) {
          EXPECT_TRUE(std::isnan(weight_of(block, k, c)));
        } else {
          EXPECT_EQ(weight_of(block, k, c), weight_of(want, k, c));
        }
      }
    }
  }
}

}  // namespace
}  // namespace longreach::kernels
