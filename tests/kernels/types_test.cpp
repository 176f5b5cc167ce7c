#include "kernels/base/types.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace longreach::base {
namespace {

TEST(Bf16, EveryPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const Bf16 x{static_cast<std::uint16_t>(bits)};
    const float value = to_float(x);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(value))));
    } else {
      EXPECT_EQ(to_bf16(value).bits, bits);
    }
  }
}

TEST(Bf16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000U)).bits, 0x3f80);  // tie, even below
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000U)).bits, 0x3f82);  // tie, even above
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001U)).bits, 0x3f81);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7f7fffffU)).bits, 0x7f80);  // overflows to infinity
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001U)))));
}

TEST(Half, AgreesWithTheDefinition) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 0x1f);
    const double fraction = static_cast<double>(bits & 0x3ff) / 1024;
    const double sign = (bits & 0x8000) != 0 ? -1 : 1;
    const float got = half_to_float(static_cast<std::uint16_t>(bits));
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(got), fraction != 0);
      EXPECT_EQ(std::isinf(got), fraction == 0);
      continue;
    }
    const double want =
        exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    EXPECT_EQ(static_cast<double>(got), sign * want) << bits;
  }
}

TEST(Half, EveryPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(half_to_float(to_half(value))));
    } else {
      EXPECT_EQ(to_half(value), bits);
    }
  }
}

TEST(Half, RoundsToNearestTiesToEven) {
  // Between each two neighbours: a little below the middle, the middle, and a little above.
  for (std::uint32_t below = 0; below < 0x7c00; ++below) {
    const float low = half_to_float(static_cast<std::uint16_t>(below));
    // The step above the largest one is as wide as the one before.
    const float high =
        below + 1 < 0x7c00 ? half_to_float(static_cast<std::uint16_t>(below + 1)) : 65536.0F;
    const float middle = (low + high) / 2;  // exact
    const std::uint32_t even = below + below % 2;
    EXPECT_EQ(to_half(std::nextafter(middle, 0.0F)), below);
    EXPECT_EQ(to_half(middle), even);
    EXPECT_EQ(to_half(std::nextafter(middle, high)), below + 1);
    EXPECT_EQ(to_half(-middle), even | 0x8000U);
  }
  EXPECT_EQ(to_half(3e38F), 0x7c00);
  EXPECT_EQ(to_half(-1e-30F), 0x8000);
}

}  // namespace
}  // namespace longreach::base
