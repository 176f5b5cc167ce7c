/// Hashes that are cheap and the same everywhere; against nobody's intent.
#pragma once

#include <cstdint>

namespace longreach::base {

/// FNV-1a, 64 bits, of bytes or of a text.
template <typename Bytes>
constexpr std::uint64_t fnv1a(const Bytes& bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const auto byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  return hash;
}

/// What SplitMix64 goes on by from number to number.
inline constexpr std::uint64_t kSplitMixStep = 0x9e3779b97f4a7c15U;

/// Lets every bit depend on every other. Source: the finaliser of SplitMix64 (Steele, Lea, Flood:
/// Fast splittable pseudorandom number generators, 2014).
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
  x = (x ^ x >> 27) * 0x94d049bb133111ebU;
  return x ^ x >> 31;
}

}  // namespace longreach::base
