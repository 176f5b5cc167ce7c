#include "bench/fma_peak.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/fma_peak.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <chrono>

HWY_BEFORE_NAMESPACE();
namespace longreach::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Does `steps` multiply-adds in each of the sums and returns how many flops that were. `factor`
/// and `sum_of_all` keep the compiler from knowing the result.
double multiply_add(std::size_t steps, float factor, float& sum_of_all) {
  const hn::CappedTag<float, 16> d;
  constexpr std::size_t kLanes = hn::MaxLanes(d);
  constexpr std::size_t kSums = 12;  // more than the steps an addition takes times two units
  const auto x = hn::Set(d, factor), y = hn::Set(d, 1 - factor);
  hn::Vec<decltype(d)> sums[kSums];
  for (auto& sum : sums) sum = x;
  for (std::size_t i = 0; i < steps; ++i) {
    for (auto& sum : sums) sum = hn::MulAdd(x, sum, y);
  }
  for (std::size_t s = 1; s < kSums; ++s) sums[0] = hn::Add(sums[0], sums[s]);
  sum_of_all = hn::GetLane(sums[0]);
  return 2.0 * static_cast<double>(steps * kSums * kLanes);
}

}  // namespace longreach::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::bench {
namespace {

HWY_EXPORT(multiply_add);

}  // namespace

double fma_peak() {
  using Clock = std::chrono::steady_clock;
  constexpr std::size_t kTries = 10, kSteps = 1'000'000;
  double best = 0;
  volatile float factor = 0.5F;
  for (std::size_t i = 0; i < kTries; ++i) {
    float sum = 0;
    const Clock::time_point start = Clock::now();
    const double flops = HWY_DYNAMIC_DISPATCH(multiply_add)(kSteps, factor, sum);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    factor = sum / sum * 0.5F;
    best = std::max(best, flops / seconds);
  }
  return best;
}

}  // namespace longreach::bench
#endif
