/// Random test data that can be made again: the seed is printed with every failure.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace longreach::test {

/// A generator seeded from LONGREACH_TEST_SEED, or else always the same. Keep `trace` in scope so
/// that failures name the seed.
struct Random {
  unsigned seed = std::getenv("LONGREACH_TEST_SEED") == nullptr
                      ? 1U
                      : static_cast<unsigned>(std::stoul(std::getenv("LONGREACH_TEST_SEED")));
  std::mt19937 engine{seed};
  testing::ScopedTrace trace{__FILE__, __LINE__, "LONGREACH_TEST_SEED=" + std::to_string(seed)};

  std::vector<float> normal(std::size_t n, float mean = 0, float deviation = 1) {
    std::normal_distribution<float> law(mean, deviation);
    std::vector<float> values(n);
    for (float& value : values) value = law(engine);
    return values;
  }
  std::vector<float> uniform(std::size_t n, float low, float high) {
    std::uniform_real_distribution<float> law(low, high);
    std::vector<float> values(n);
    for (float& value : values) value = law(engine);
    return values;
  }
  /// low .. high, both included.
  std::size_t whole(std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(engine);
  }
};

}  // namespace longreach::test
