#include "kernels/attention/kv_rows.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/kv_formats.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace longreach::kernels {
namespace {

using base::KvFormat;
using test::Random;

/// A row as it was given, or as it is kept.
struct Row {
  std::vector<float> key, value;
};

Row random_row(Random& random, float deviation) {
  return {random.normal(kHeadSize, 0, deviation), random.normal(kHeadSize, 0, deviation)};
}

/// Memory of a head with rows that are put there.
class Head {
 public:
  Head(KvFormat format, std::size_t n_rows)
      : layout_(format, n_rows), bytes_(layout_.size_bytes()) {}

  void put(std::size_t row, const Row& given) {
    layout_.put(bytes_.data(), row, given.key, given.value);
  }
  Row read(std::size_t row) const { return read(rows(), row); }
  static Row read(const ChunkRows& rows, std::size_t row) {
    Row kept{std::vector<float>(kHeadSize), std::vector<float>(kHeadSize)};
    read_row(rows, row, kept.key, kept.value);
    return kept;
  }
  ChunkRows rows() const { return layout_.rows(bytes_.data()); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  HeadLayout layout_;
  std::vector<std::byte> bytes_;
};

class KvRows : public testing::TestWithParam<KvFormat> {};
LR_ON_EVERY_KV_FORMAT(KvRows);

TEST_P(KvRows, ErrByAtMostWhatIsPromised) {
  Random random;
  for (const float deviation :
       {1.0F, 0.02F, 1e-30F, 1e-35F, 1e-37F, 1e-39F, 1e-44F, 1e10F, 5e36F}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const Row given = random_row(random, deviation);
      Head head(GetParam(), 1);
      head.put(0, given);
      const Row kept = head.read(0);
      for (const auto& [got, want] : {std::pair(kept.key, given.key), {kept.value, given.value}}) {
        const std::vector<double> exact(want.begin(), want.end());
        EXPECT_TRUE(test::near(got, exact, test::kept_error(GetParam(), want))) << deviation;
      }
    }
  }
}

TEST_P(KvRows, KeptAgainHaveTheSameBits) {
  Random random;
  for (const float deviation : {1.0F, 1e-30F, 1e-35F, 1e-36F, 1e-37F, 1e-38F, 1e-44F, 5e36F}) {
    for (int repeat = 0; repeat < 100; ++repeat) {
      Head once(GetParam(), 1), twice(GetParam(), 1);
      once.put(0, random_row(random, deviation));
      twice.put(0, once.read(0));
      ASSERT_EQ(once.bytes(), twice.bytes()) << deviation;
    }
  }
}

TEST_P(KvRows, EveryRowIsItsOwn) {
  Random random;
  for (const std::size_t n : {1, 31, 32, 33, 100}) {
    Head head(GetParam(), n);
    std::vector<Row> want;
    for (std::size_t row = 0; row < n; ++row) {
      const Row given = random_row(random, static_cast<float>(row + 1));
      head.put(row, given);
      Head alone(GetParam(), 1);
      alone.put(0, given);
      want.push_back(alone.read(0));
    }
    for (std::size_t row = 0; row < n; ++row) {
      const Row got = head.read(row);
      ASSERT_TRUE(test::same_bits(got.key, want[row].key)) << row << " of " << n;
      ASSERT_TRUE(test::same_bits(got.value, want[row].value)) << row << " of " << n;
    }
  }
}

TEST_P(KvRows, SumsOfKeysAreThoseOfKeptRowsInOrder) {
  Random random;
  constexpr std::size_t kRows = 100;
  Head head(GetParam(), kRows);
  std::vector<float> want(kHeadSize), got(kHeadSize);
  for (std::size_t row = 0; row < kRows; ++row) {
    head.put(row, random_row(random, 1 + 0.1F * static_cast<float>(row)));
    for (std::size_t d = 0; d < kHeadSize; ++d) want[d] += head.read(row).key[d];
    sum_keys(head.rows(), row + 1, got);
    ASSERT_TRUE(test::same_bits(got, want)) << row;
  }
}

TEST_P(KvRows, ACopyOfTheFirstRowsHasThem) {
  Random random;
  Head head(GetParam(), 100);
  for (std::size_t row = 0; row < 100; ++row) head.put(row, random_row(random, 1));
  for (const std::size_t n : {1, 32, 45, 100}) {
    const HeadLayout layout(GetParam(), n);
    std::vector<std::byte> copy(layout.size_bytes());
    layout.copy(head.rows(), copy.data());
    for (std::size_t row = 0; row < n; ++row) {
      const Row got = Head::read(layout.rows(copy.data()), row), want = head.read(row);
      ASSERT_TRUE(test::same_bits(got.key, want.key)) << row << " of " << n;
      ASSERT_TRUE(test::same_bits(got.value, want.value)) << row << " of " << n;
    }
  }
}

TEST_P(KvRows, WhatIsNotFiniteIsSeenInItsRowOnly) {
  Random random;
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    Head head(GetParam(), 3);
    for (std::size_t row = 0; row < 3; ++row) {
      Row given = random_row(random, 1);
      if (row == 1) given.key[17] = given.value[63] = poison;
      head.put(row, given);
    }
    for (std::size_t row = 0; row < 3; ++row) {
      const Row got = head.read(row);
      EXPECT_EQ(std::isfinite(got.key[17]), row != 1) << row;
      EXPECT_EQ(std::isfinite(got.value[63]), row != 1) << row;
      EXPECT_TRUE(row == 1 || std::isfinite(got.key[16])) << row;
    }
  }
}

TEST_P(KvRows, ZerosStayZeros) {
  Head head(GetParam(), 1);
  head.put(0, {std::vector<float>(kHeadSize), std::vector<float>(kHeadSize)});
  for (const float x : head.read(0).key) EXPECT_EQ(x, 0);
  for (const float x : head.read(0).value) EXPECT_EQ(x, 0);
}

TEST(HeadLayout, TakesWhatThePlannerCounts) {
  // Keys and scales fill whole panels of 32 rows, values do not.
  EXPECT_EQ(HeadLayout(KvFormat::kF32, 33).size_bytes(), (64U + 33U) * 64U * 4U);
  EXPECT_EQ(HeadLayout(KvFormat::kBf16, 33).size_bytes(), (64U + 33U) * 64U * 2U);
  EXPECT_EQ(HeadLayout(KvFormat::kInt8, 33).size_bytes(), (64U + 33U) * 64U + 2U * 64U * 2U);
  EXPECT_EQ(HeadLayout(KvFormat::kInt8, 0).size_bytes(), 0U);
}

}  // namespace
}  // namespace longreach::kernels
