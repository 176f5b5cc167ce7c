/// Random numbers that need no memory: each is a function of a key and its own index, so any part
/// of them can be made at any time, by any rank. Used where weights or keys of no file are wanted.
#pragma once

#include "kernels/base/hash.hpp"
#include "kernels/base/types.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace longreach::model {

/// A key that differs for different texts.
constexpr std::uint64_t key_of(std::string_view text) { return base::fnv1a(text); }

/// 64 random bits.
constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t index) {
  return base::mix_bits(key + index * base::kSplitMixStep);
}

/// A sequence of independent numbers around a mean, bell-shaped (the sum of four uniform ones) and
/// never further from it than 3.5 deviations.
struct RandomNumbers {
  std::uint64_t key = 0;
  float mean = 0;
  float deviation = 1;

  /// The number at an index.
  float at(std::size_t index) const {
    const std::uint64_t bits = random_bits(key, index);
    const std::uint64_t sum =
        (bits & 0xffffU) + (bits >> 16 & 0xffffU) + (bits >> 32 & 0xffffU) + (bits >> 48);
    // Four uniform numbers below 2^16 have the mean sum 131070 and the deviation 2^16 / sqrt(3).
    constexpr float kUnit = 1.7320508F / 65536.0F;
    const float unit = static_cast<float>(static_cast<std::int32_t>(sum) - 131070) * kUnit;
    return mean + deviation * unit;
  }
};

}  // namespace longreach::model
