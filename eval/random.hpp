/// Random numbers that are the same everywhere: a question's text depends on nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace longreach::eval {

/// A stream of numbers that its name and numbers determine; streams of other names or numbers have
/// nothing to do with it. Source: splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom
/// number generators, 2014).
class Random {
 public:
  Random(std::string_view name, std::initializer_list<std::uint64_t> numbers);

  /// 64 random bits.
  std::uint64_t bits();
  /// Uniform in 0 .. n-1. Requires: n >= 1.
  std::uint64_t below(std::uint64_t n);
  /// Uniform in low .. high, both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  /// `n` characters of `alphabet`.
  std::string text(std::string_view alphabet, std::size_t n);

  template <typename T>
  const T& pick(std::span<const T> items) {
    return items[below(items.size())];
  }
  /// Brings the items into any order with equal chance.
  template <typename Items>
  void shuffle(Items& items) {
    for (std::size_t n = items.size(); n > 1; --n) {
      using std::swap;
      swap(items[n - 1], items[below(n)]);
    }
  }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace longreach::eval
