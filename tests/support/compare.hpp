/// The one comparer of numbers in tests. A NaN on either side, and anything not at most the bound,
/// is a difference.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <span>

namespace longreach::test {

/// Succeeds when |got[i] - want[i]| <= bound(i) for all i; else names the worst place and how many
/// there are.
inline testing::AssertionResult near(std::span<const float> got, std::span<const double> want,
                                     const std::function<double(std::size_t)>& bound) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " numbers, expected " << want.size();
  }
  std::size_t n_bad = 0, worst = 0;
  double worst_excess = -1;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    if (error <= bound(i)) continue;
    ++n_bad;
    const double excess = std::isnan(error) ? HUGE_VAL : error - bound(i);
    if (excess > worst_excess) {
      worst_excess = excess;
      worst = i;
    }
  }
  if (n_bad == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << n_bad << " of " << got.size() << " differ, worst at " << worst << ": got " << got[worst]
         << ", expected " << want[worst] << " within " << bound(worst);
}

/// Succeeds when both have the same bits; else names the first difference.
inline testing::AssertionResult same_bits(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " numbers, expected " << want.size();
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(float)) != 0) {
      return testing::AssertionFailure()
             << "first difference at " << i << ": " << got[i] << " and " << want[i];
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace longreach::test
