#include "kernels/matmul/bf16_terms.hpp"

#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longreach::kernels {
namespace {

using test::Random;

class Bf16Terms : public test::EveryIsa {};
LR_ON_EVERY_ISA(Bf16Terms);

struct Terms {
  std::vector<float> first, second;
};

/// The terms of x, which are written as row `row`, with those of the padding; of one the second is
/// 0.
template <std::size_t kTerms>
Terms terms_of(std::span<const float> x, std::size_t row) {
  std::vector<TermBlock<kTerms>> blocks((x.size() + kScaleBlock - 1) / kScaleBlock);
  for (TermBlock<kTerms>& block : blocks) {
    for (auto& term : block.terms) {
      for (auto& values : term) values.fill(base::to_bf16(123));
    }
  }
  to_terms(x, row, std::span(blocks));
  Terms terms;
  for (const TermBlock<kTerms>& block : blocks) {
    for (std::size_t r = 0; r < kTermRows; ++r) {
      for (std::size_t i = 0; i < kScaleBlock; ++i) {
        const float first = base::to_float(block.terms[0][r][i]);
        const float second = kTerms == 1 ? 0 : base::to_float(block.terms[kTerms - 1][r][i]);
        if (r == row) {
          terms.first.push_back(first);
          terms.second.push_back(second);
        } else {
          EXPECT_TRUE(first == 123 && second == (kTerms == 1 ? 0 : 123))
              << "row " << r << " beside " << row;
        }
      }
    }
  }
  return terms;
}

TEST_P(Bf16Terms, AreNearestAndKeepSeventeenBits) {
  Random random;
  for (const std::size_t n : {1, 31, 32, 33, 100, 768}) {
    for (const float size : {1.0F, 1e-30F, 1e-37F, 1e30F}) {
      const auto x = random.normal(n, 0, size);
      const Terms got = terms_of<2>(x, n % kTermRows);
      EXPECT_EQ(terms_of<1>(x, n % kTermRows).first, got.first);
      for (std::size_t i = 0; i < got.first.size(); ++i) {
        const float want = i < n ? x[i] : 0;
        ASSERT_EQ(got.first[i], base::to_float(base::to_bf16(want)));
        ASSERT_EQ(got.second[i], base::to_float(base::to_bf16(want - got.first[i])));
        const auto exact = static_cast<double>(want);
        const double sum = static_cast<double>(got.first[i]) + static_cast<double>(got.second[i]);
        ASSERT_LE(std::abs(sum - exact), 0x1p-17 * std::abs(exact) + 0x1p-134) << i;
      }
    }
  }
}

TEST_P(Bf16Terms, WhatIsNotFiniteBecomesNan) {
  const float inf = std::numeric_limits<float>::infinity();
  const float all_ones = std::bit_cast<float>(0x7fffffffU);  // a NaN that rounding would overflow
  const std::vector<float> bad{inf,
                               -inf,
                               std::numeric_limits<float>::quiet_NaN(),
                               all_ones,
                               std::bit_cast<float>(0xffffffffU),
                               std::numeric_limits<float>::max()};
  const Terms got = terms_of<2>(bad, 3), one = terms_of<1>(bad, 3);
  for (std::size_t i = 0; i < got.first.size(); ++i) {
    EXPECT_EQ(std::isnan(got.first[i] + got.second[i]), i < bad.size()) << i;
    // One alone may be infinite.
    EXPECT_EQ(std::isfinite(one.first[i]), i >= bad.size()) << i;
    EXPECT_EQ(std::isnan(one.first[i]), i >= 2 && i < 5) << i;
  }
}

}  // namespace
}  // namespace longreach::kernels
