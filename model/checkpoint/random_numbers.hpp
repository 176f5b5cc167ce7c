/// Random numbers that need no memory: each is a function of a key and its own index, so any part
/// of them can be made at any time, by any rank. Used where weights or keys of no file are wanted.
#pragma once

#include "kernels/base/types.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace longreach::model {

/// A key that differs for different texts (FNV-1a).
constexpr std::uint64_t key_of(std::string_view text) {
  std::uint64_t key = 0xcbf29ce484222325U;
  for (const char c : text) key = (key ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return key;
}

/// 64 random bits. Source: the finaliser of SplitMix64, which lets every bit depend on every other.
constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t index) {
  std::uint64_t x = key + index * 0x9e3779b97f4a7c15U;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
  x = (x ^ x >> 27) * 0x94d049bb133111ebU;
  return x ^ x >> 31;
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
