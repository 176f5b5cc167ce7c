#include "kernels/matmul/weight_blocks.hpp"

#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
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

/// As the header and weight-formats.md have it, number by number.
template <class Block>
class PlainBlock {
 public:
  PlainBlock(const BlockWeights& weights, std::size_t col) {
    float extreme = 0;
    for (const auto& row : weights) {
      if (std::abs(row[col]) > std::abs(extreme)) extreme = row[col];
      is_finite_ = is_finite_ && std::isfinite(row[col]);
    }
    scale_ = base::to_bf16(kIsInt4 ? extreme / -8 : std::abs(extreme) / 127);
  }

  bool is_finite() const { return is_finite_; }
  base::Bf16 scale() const { return scale_; }
  /// Requires: a scale that is not zero.
  int code(float weight) const {
    const float code = std::nearbyint(weight / base::to_float(scale_));
    return static_cast<int>(std::clamp(code, kIsInt4 ? -8.0F : -127.0F, kIsInt4 ? 7.0F : 127.0F));
  }

 private:
  static constexpr bool kIsInt4 = std::is_same_v<Block, Int4Block>;
  bool is_finite_ = true;
  base::Bf16 scale_;
};

/// Numbers of all magnitudes, some of them halfway between two codes, zero, or not finite.
BlockWeights various_weights(Random& random) {
  BlockWeights weights = normal_weights(random, {1, 0.02F, 1e-30F, 1e-36F, 1e-41F, 0, 5e37F});
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    weights[k][8] = static_cast<float>(k) * 0.5F - 7.75F;
    weights[k][9] = k == 0 ? 127 : static_cast<float>(k) + 0.5F;
  }
  weights[random.whole(0, kScaleBlock - 1)][10] = std::numeric_limits<float>::infinity();
  weights[random.whole(0, kScaleBlock - 1)][11] = std::numeric_limits<float>::quiet_NaN();
  weights[3][12] = -0.0F;
  return weights;
}

class BlockOnPaths : public test::EveryIsa {
 protected:
  template <class Block>
  void expect_as_plain() {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const BlockWeights weights = various_weights(random_);
      Block block;
      std::memset(&block, 0x55, sizeof(block));
      quantize(weights, block);
      for (std::size_t c = 0; c < kPanelCols; ++c) {
        const PlainBlock<Block> plain(weights, c);
        if (!plain.is_finite()) {
          EXPECT_TRUE(std::isnan(base::to_float(block.scales[c])));
          continue;
        }
        ASSERT_EQ(block.scales[c].bits, plain.scale().bits) << "column " << c;
        if (base::to_float(plain.scale()) == 0) continue;
        for (std::size_t k = 0; k < kScaleBlock; ++k) {
          ASSERT_EQ(code_of(block, k, c), plain.code(weights[k][c]))
              << weights[k][c] << " at input " << k << " of column " << c;
        }
      }
    }
  }

  Random random_;
};
LR_ON_EVERY_ISA(BlockOnPaths);

TEST_P(BlockOnPaths, OfInt8IsThePlainOne) { expect_as_plain<Int8Block>(); }
TEST_P(BlockOnPaths, OfInt4IsThePlainOne) { expect_as_plain<Int4Block>(); }

TEST_P(BlockOnPaths, OfPairsHasTheNearestNumbers) {
  const BlockWeights weights = various_weights(random_);
  for (const PairOrder order : {PairOrder::kFirstBelow, PairOrder::kFirstAbove}) {
    Bf16Block block;
    write_pairs(weights, order, block);
    for (std::size_t k = 0; k < kScaleBlock; ++k) {
      const std::size_t half = order == PairOrder::kFirstBelow ? k % 2 : 1 - k % 2;
      for (std::size_t c = 0; c < kPanelCols; ++c) {
        ASSERT_EQ(block.weights[k / 2][c][half].bits, base::to_bf16(weights[k][c]).bits);
      }
    }
  }
}

template <typename T>
std::uint32_t bits_of(T number) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(number));
  return bits;
}

/// Writes n_k steps and returns whether they are finite.
template <typename T>
bool expect_steps(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride) {
  const T untouched = {};
  std::vector<T> steps(kScaleBlock * k_stride, untouched);
  const bool are_finite = write_steps(weights, n_k, k_stride, steps.data());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::size_t k = i / k_stride, c = i % k_stride;
    T expected = untouched;
    if (k < n_k && c < kPanelCols) {
      if constexpr (std::is_same_v<T, float>) {
        expected = weights[k][c];
      } else {
        expected = base::to_bf16(weights[k][c]);
      }
    }
    EXPECT_EQ(bits_of(steps[i]), bits_of(expected)) << "input " << k << " column " << c;
  }
  return are_finite;
}

TEST_P(BlockOnPaths, OfStepsHasTheNearestNumbers) {
  for (const std::size_t n_k : {std::size_t{1}, std::size_t{31}, kScaleBlock}) {
    for (const std::size_t k_stride : {kPanelCols, 2 * kPanelCols}) {
      BlockWeights weights = normal_weights(random_, {1, 1e-41F});
      EXPECT_TRUE(expect_steps<float>(weights, n_k, k_stride));
      EXPECT_TRUE(expect_steps<base::Bf16>(weights, n_k, k_stride));
      weights[n_k - 1][17] = std::numeric_limits<float>::max();  // infinite when it is rounded
      EXPECT_TRUE(expect_steps<float>(weights, n_k, k_stride));
      EXPECT_FALSE(expect_steps<base::Bf16>(weights, n_k, k_stride));
      weights[n_k - 1][17] = std::bit_cast<float>(0xffa00001U);  // a NaN
      EXPECT_FALSE(expect_steps<float>(weights, n_k, k_stride));
      EXPECT_FALSE(expect_steps<base::Bf16>(weights, n_k, k_stride));
    }
  }
}

}  // namespace
}  // namespace longreach::kernels
