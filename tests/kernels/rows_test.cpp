#include "kernels/rows/rows.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace longreach::kernels {
namespace {

using test::Random;

constexpr double kEps = std::numeric_limits<float>::epsilon();

// Below, at and above a vector's length on every path, and a real width.
const std::size_t kSizes[] = {0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 768};

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

class RowSteps : public test::EveryIsa {};
LR_ON_EVERY_ISA(RowSteps);

/// Compares a step in place on x with its formula in double, within `roundings` of the terms' size.
void expect_step(const std::function<void(std::span<float>)>& step,
                 const std::function<double(double)>& formula, std::span<const float> inputs,
                 double roundings) {
  for (const std::size_t n : kSizes) {
    std::vector<float> got(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(n));
    std::vector<double> want;
    for (const float x : got) want.push_back(formula(double{x}));
    step(got);
    ASSERT_TRUE(test::near(
        got, want, [&](std::size_t i) { return roundings * kEps * (std::abs(want[i]) + 1e-30); }));
  }
}

TEST_P(RowSteps, Activations) {
  Random random;
  auto x = random.normal(768, 0, 5);
  x[0] = -200, x[1] = 200, x[2] = 0, x[3] = -87.5F, x[4] = 1e-8F;
  // exp has a relative error of a few units, of which the sum with 1 and the division keep at most
  // as many.
  expect_step([](auto v) { sigmoid(v); },
              [](double v) { return v < -88 ? sigmoid_of(-88) : sigmoid_of(v); }, x, 8);
  // 1 - 2 / (exp(2x) + 1) and its like lose a few units near the ends.
  expect_step([](auto v) { tanh(v); }, [](double v) { return std::tanh(v); }, x, 8);
  expect_step([](auto v) { squared_relu(v); }, [](double v) { return v > 0 ? v * v : 0; }, x, 1);
}

/// A weight that is NaN must be seen in the end.
TEST_P(RowSteps, NanStaysNan) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr std::size_t kSize = 37;
  const std::vector<float> ones(kSize, 1.0F);
  const auto expect_nan_at = [](std::size_t at, std::span<const float> got) {
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i == at) << i;
  };
  for (const float nan : {kNan, -kNan}) {
    for (const std::size_t at : {std::size_t{3}, kSize - 1}) {
      std::vector<float> with_nan = ones;
      with_nan[at] = nan;
      for (void (*step)(std::span<float>) noexcept : {sigmoid, tanh, squared_relu}) {
        auto got = with_nan;
        step(got);
        expect_nan_at(at, got);
      }
      for (void (*step)(std::span<const float>, std::span<float>) noexcept :
           {biased_sigmoid, decay, add}) {
        auto got = ones;
        step(with_nan, got);
        expect_nan_at(at, got);
        got = with_nan;
        step(ones, got);
        expect_nan_at(at, got);
      }
      std::vector<float> got(kSize);
      token_shift(ones, with_nan, ones, got);
      expect_nan_at(at, got);
      got = ones;
      value_residual(ones, ones, with_nan, got);
      expect_nan_at(at, got);
      layer_norm(with_nan, ones, ones, 1e-5F, got);
      for (const float y : got) EXPECT_TRUE(std::isnan(y));
    }
  }
}

TEST_P(RowSteps, BiasedActivations) {
  Random random;
  const auto x = random.normal(768, 0, 3), bias = random.normal(768, 0, 3);
  const auto v_first = random.normal(768), v = random.normal(768);
  for (const std::size_t n : kSizes) {
    const auto part = [n](const std::vector<float>& from) {
      return std::vector<float>(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n));
    };
    std::vector<float> rate = part(x), decayed = part(x), mixed = part(v);
    std::vector<double> want_rate, want_decayed, want_mixed;
    for (std::size_t i = 0; i < n; ++i) {
      const double share = sigmoid_of(double{x[i]} + double{bias[i]});
      want_rate.push_back(share);
      want_decayed.push_back(std::exp(-std::exp(-0.5) * share));
      want_mixed.push_back(double{v[i]} + (double{v_first[i]} - double{v[i]}) * share);
    }
    biased_sigmoid(part(bias), rate);
    decay(part(bias), decayed);
    value_residual(part(v_first), part(bias), part(x), mixed);
    // The rounding of x + bias moves the sigmoid by at most a quarter of it; the rest is as above.
    const auto sum_error = [&](std::size_t i) {
      return kEps * (std::abs(double{x[i]}) + std::abs(double{bias[i]}));
    };
    ASSERT_TRUE(
        test::near(rate, want_rate, [&](std::size_t i) { return sum_error(i) + 8 * kEps; }));
    ASSERT_TRUE(
        test::near(decayed, want_decayed, [&](std::size_t i) { return sum_error(i) + 12 * kEps; }));
    ASSERT_TRUE(test::near(mixed, want_mixed, [&](std::size_t i) {
      return (sum_error(i) + 12 * kEps) * (std::abs(double{v[i]}) + std::abs(double{v_first[i]}));
    }));
  }
}

TEST_P(RowSteps, TokenShiftAndResidual) {
  Random random;
  const auto x = random.normal(768), before = random.normal(768), mix = random.uniform(768, 0, 1);
  for (const std::size_t n : kSizes) {
    const auto part = [n](const std::vector<float>& from) { return std::span(from).first(n); };
    std::vector<float> shifted(n),
        sum(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(n));
    std::vector<double> want_shifted, want_sum;
    for (std::size_t i = 0; i < n; ++i) {
      want_shifted.push_back(double{x[i]} + (double{before[i]} - double{x[i]}) * double{mix[i]});
      want_sum.push_back(double{x[i]} + double{before[i]});
    }
    token_shift(part(x), part(before), part(mix), shifted);
    add(part(x), sum);
    const auto bound = [&](std::size_t i) {
      return 3 * kEps * (std::abs(double{x[i]}) + std::abs(double{before[i]}));
    };
    ASSERT_TRUE(test::near(shifted, want_shifted, bound));
    ASSERT_TRUE(test::near(sum, want_sum, bound));
  }
}

TEST_P(RowSteps, LayerNorm) {
  Random random;
  for (const std::size_t n : kSizes) {
    if (n == 0) continue;
    const auto x = random.normal(n, 3, 2), weight = random.normal(n, 1, 0.3F),
               bias = random.normal(n);
    double mean = 0, variance = 0, largest = 0;
    for (const float v : x) mean += double{v} / static_cast<double>(n);
    for (const float v : x)
      variance += (double{v} - mean) * (double{v} - mean) / static_cast<double>(n);
    for (const float v : x) largest = std::max(largest, std::abs(double{v}));
    const double deviation = std::sqrt(variance + 1e-5);
    std::vector<double> want(n);
    for (std::size_t i = 0; i < n; ++i)
      want[i] = (double{x[i]} - mean) / deviation * double{weight[i]} + double{bias[i]};
    std::vector<float> y(n);
    layer_norm(x, weight, bias, 1e-5F, y);
    // The mean errs by n/16 + 5 roundings of the largest value; that, relative to the deviation, is
    // what dominates.
    const double mean_error = (static_cast<double>(n) / 16 + 8) * kEps * largest / deviation;
    ASSERT_TRUE(test::near(y, want, [&](std::size_t i) {
      return (3 * mean_error * (1 + std::abs(want[i])) + 8 * kEps) *
             (std::abs(double{weight[i]}) + std::abs(double{bias[i]}) + 1);
    })) << n;
    std::vector<float> in_place = x;
    layer_norm(in_place, weight, bias, 1e-5F, in_place);
    ASSERT_TRUE(test::same_bits(in_place, y));
  }
}

}  // namespace
}  // namespace longreach::kernels
