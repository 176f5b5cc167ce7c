/// Runs a test on every format of the cache, and what the formats may cost.
#pragma once

#include "kernels/base/types.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <string>

namespace longreach::test {

inline constexpr std::array kKvFormats{base::KvFormat::kF32, base::KvFormat::kBf16,
                                       base::KvFormat::kInt8};

/// How far each number of this key or value may be from what is kept
/// (kernels/attention/kv-formats.md).
inline std::function<double(std::size_t)> kept_error(base::KvFormat format,
                                                     std::span<const float> x) {
  double largest = 0;
  for (const float number : x) largest = std::max(largest, std::abs(double{number}));
  switch (format) {
    case base::KvFormat::kF32:
      break;
    case base::KvFormat::kBf16:
      // Half a step of 8 bits, or of the denormal numbers.
      return [x](std::size_t d) { return std::abs(double{x[d]}) * 0x1p-8 + 0x1p-134; };
    case base::KvFormat::kInt8:
      // Half a scale, itself rounded to 8 bits, and a code rounded to f32 before; or nothing kept.
      if (largest < 127 * double{std::numeric_limits<float>::min()}) {
        return [x](std::size_t d) { return std::abs(double{x[d]}); };
      }
      return [largest](std::size_t) { return largest / 127 * (1 + 0x1p-8) / 2 * (1 + 0x1p-15); };
  }
  return [](std::size_t) { return 0.0; };
}

}  // namespace longreach::test

/// Instantiates a suite derived from TestWithParam<base::KvFormat>.
#define LR_ON_EVERY_KV_FORMAT(suite)                                                    \
  INSTANTIATE_TEST_SUITE_P(Kv, suite, testing::ValuesIn(::longreach::test::kKvFormats), \
                           [](const auto& kv) { return std::string(name_of(kv.param)); })
