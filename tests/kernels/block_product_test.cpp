#include "kernels/matmul/block_product.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longreach::kernels {
namespace {

using base::Activations;
using base::WeightFormat;
using test::Random;

constexpr double kEps = static_cast<double>(std::numeric_limits<float>::epsilon());

/// What activations in f32 and in int8 become: 16 bits or 8.
struct Kind {
  Activations activations;
  decltype(to_fixed)* convert;
  int most;  ///< The largest code.

  /// Of an activation, in scales: half a step, and the rounding of a quotient.
  double error() const { return 0.5 + (most + 1) * kEps; }
};
constexpr Kind kKinds[] = {{Activations::kF32, to_fixed, 32767},
                           {Activations::kInt8, to_small_fixed, 127}};

/// One row in whole numbers, whole blocks.
struct Fixed {
  std::vector<int> codes;
  std::vector<float> scales;
};

Fixed fixed(const Kind& kind, std::span<const float> x, std::size_t row = 0) {
  const std::size_t n_blocks = (x.size() + kScaleBlock - 1) / kScaleBlock;
  std::vector<FixedBlock> blocks(n_blocks);
  kind.convert(x, row, blocks);
  Fixed result;
  for (const FixedBlock& block : blocks) {
    result.codes.insert(result.codes.end(), block.codes[row].begin(), block.codes[row].end());
    result.scales.push_back(block.scales[row]);
  }
  return result;
}

class BlockProduct : public test::EveryIsa {};
LR_ON_EVERY_ISA(BlockProduct);

TEST_P(BlockProduct, ActivationsAreTheNearestCodes) {
  Random random;
  for (const Kind& kind : kKinds) {
    for (const std::size_t n : {1, 31, 32, 33, 100, 768}) {
      for (const float size : {1.0F, 1e-30F, 1e30F}) {
        const auto x = random.normal(n, 0, size);
        const Fixed got = fixed(kind, x, n % kFixedRows);
        for (std::size_t i = 0; i < got.codes.size(); ++i) {
          const auto scale = static_cast<double>(got.scales[i / kScaleBlock]);
          const double value = scale * got.codes[i];
          const double want = i < n ? static_cast<double>(x[i]) : 0;
          ASSERT_LE(std::abs(value - want), scale * kind.error()) << n << ", " << i;
          ASSERT_LE(std::abs(got.codes[i]), kind.most);
        }
      }
    }
  }
}

TEST_P(BlockProduct, ActivationsOfExtremeSizes) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float huge = std::numeric_limits<float>::max();
  std::vector<float> x(7 * kScaleBlock, 0.0F);
  x[1 * kScaleBlock + 3] = inf;
  x[2 * kScaleBlock + 31] = nan;
  x[3 * kScaleBlock + 9] = -inf;
  x[4 * kScaleBlock] = tiny;
  x[5 * kScaleBlock + 1] = -huge;
  x[6 * kScaleBlock + 1] = 1;
  for (const Kind& kind : kKinds) {
    const Fixed got = fixed(kind, x);
    EXPECT_EQ(got.scales[0], 0);
    for (const std::size_t poisoned : {1, 2, 3}) EXPECT_TRUE(std::isnan(got.scales[poisoned]));
    EXPECT_LE(got.scales[4] * static_cast<float>(got.codes[4 * kScaleBlock]), tiny);
    EXPECT_FLOAT_EQ(got.scales[5] * static_cast<float>(got.codes[5 * kScaleBlock + 1]), -huge);
    EXPECT_FLOAT_EQ(got.scales[6] * static_cast<float>(got.codes[6 * kScaleBlock + 1]), 1);
    for (std::size_t i = 0; i < kScaleBlock; ++i) EXPECT_EQ(got.codes[i], 0);
  }
}

/// A product of `rows` rows with weights kept in `format`, against the same in double.
template <class Block>
void expect_close(Random& random, ThreadPool& pool, WeightFormat format, const Kind& kind,
                  std::size_t rows, std::size_t n_in, std::size_t n_out) {
  const auto weights = random.normal(n_out * n_in);
  const StridedMatrix source{
      reinterpret_cast<const std::byte*>(weights.data()), base::DType::kF32, n_out, n_in, n_in, 1};
  const PackedMatrix packed(source, {format, kind.activations}, pool);
  const auto x = random.normal(rows * n_in);
  std::vector<double> want(rows * n_out), bound(rows * n_out);
  const std::size_t n_blocks = (n_in + kScaleBlock - 1) / kScaleBlock;
  for (std::size_t r = 0; r < rows; ++r) {
    const Fixed x_fixed = fixed(kind, std::span(x).subspan(r * n_in, n_in));
    for (std::size_t o = 0; o < n_out; ++o) {
      double sum = 0, size = 0, cut = 0;
      for (std::size_t k = 0; k < n_in; ++k) {
        const Block& block = packed.panel<Block>(o / kPanelCols)[k / kScaleBlock];
        const double w = static_cast<double>(base::to_float(block.scales[o % kPanelCols])) *
                         code_of(block, k % kScaleBlock, o % kPanelCols);
        const double x_k = static_cast<double>(x[r * n_in + k]);
        sum += x_k * w;
        size += std::abs(x_k * w);
        cut += static_cast<double>(x_fixed.scales[k / kScaleBlock]) * kind.error() * std::abs(w);
      }
      want[r * n_out + o] = sum;
      // What the activations lost, and four roundings a block: of the whole sum, of the product of
      // scales, of their product and of the sum so far.
      bound[r * n_out + o] = cut + static_cast<double>(n_blocks + 3) * kEps * (size + cut);
    }
  }
  std::vector<float> y(rows * n_out, std::numeric_limits<float>::quiet_NaN());
  multiply(pool, {x.data(), rows, n_in}, packed, {y.data(), rows, n_out});
  ASSERT_TRUE(test::near(y, want, [&](std::size_t i) { return bound[i]; }))
      << name_of(format) << ": " << rows << " x " << n_in << " x " << n_out;
}

TEST_P(BlockProduct, AgreesWithADoubleSum) {
  Random random;
  ThreadPool pool(2);
  for (const std::size_t rows : {1, 2, 3, 5, 6, 7, 13, 16, 17, 35}) {
    for (const std::size_t n_in : {1, 31, 32, 33, 256, 257, 600}) {
      for (const std::size_t n_out : {1, 31, 32, 33, 64, 65, 100, 200}) {
        for (const Kind& kind : kKinds) {
          expect_close<Int8Block>(random, pool, WeightFormat::kInt8, kind, rows, n_in, n_out);
          expect_close<Int4Block>(random, pool, WeightFormat::kInt4, kind, rows, n_in, n_out);
        }
      }
    }
  }
}

TEST_P(BlockProduct, LargestCodesDoNotOverflow) {
  // All products of a block have one sign and the largest size.
  ThreadPool pool(1);
  const std::vector<float> weights(kScaleBlock, 127);
  const StridedMatrix source{reinterpret_cast<const std::byte*>(weights.data()),
                             base::DType::kF32,
                             1,
                             kScaleBlock,
                             kScaleBlock,
                             1};
  for (const Kind& kind : kKinds) {
    for (const std::size_t rows : {1, 16}) {
      const auto most = static_cast<float>(kind.most);
      const std::vector<float> x(rows * kScaleBlock, -most);
      std::vector<float> y(rows);
      multiply(pool, {x.data(), rows, kScaleBlock},
               PackedMatrix(source, {WeightFormat::kInt8, kind.activations}, pool),
               {y.data(), rows, 1});
      EXPECT_EQ(y, std::vector<float>(rows, -127.0F * most * 32.0F));
    }
  }
}

TEST_P(BlockProduct, WhatIsNotFiniteIsSeenInItsRowOrColumnOnly) {
  Random random;
  ThreadPool pool(1);
  const std::size_t n_in = 70, n_out = 40;
  auto weights = random.normal(n_out * n_in);
  auto x = random.normal(20 * n_in);
  weights[9 * n_in + 69] = std::numeric_limits<float>::infinity();
  x[3 * n_in + 40] = std::numeric_limits<float>::quiet_NaN();
  const StridedMatrix source{
      reinterpret_cast<const std::byte*>(weights.data()), base::DType::kF32, n_out, n_in, n_in, 1};
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const Kind& kind : kKinds) {
      for (const std::size_t rows : {8, 20}) {
        std::vector<float> y(rows * n_out);
        multiply(pool, {x.data(), rows, n_in},
                 PackedMatrix(source, {format, kind.activations}, pool), {y.data(), rows, n_out});
        for (std::size_t i = 0; i < y.size(); ++i) {
          EXPECT_EQ(std::isnan(y[i]), i / n_out == 3 || i % n_out == 9)
              << name_of(format) << ", " << name_of(kind.activations) << ", " << rows << " rows, "
              << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace longreach::kernels
