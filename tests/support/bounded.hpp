/// Numbers in double that know how far a computation in f32 may be from them, so that a formula
/// written once gives both what is expected and a derived bound. First order in eps, with the size
/// of what is rounded taken after its error.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

namespace longreach::test {

struct Bounded {
  double value = 0, error = 0;

  Bounded() = default;
  Bounded(double exact) : value(exact) {}  // NOLINT(google-explicit-constructor): a number
  /// What f32 makes of a result with `n` roundings of the size of `terms`.
  Bounded(double result, double inherited, double terms, double n)
      : value(result), error(inherited + n * kEps * (std::abs(terms) + inherited)) {}

  /// What rounding to nearest changes of a number, at most.
  static constexpr double kEps = static_cast<double>(std::numeric_limits<float>::epsilon()) / 2;
};

inline Bounded operator+(const Bounded& a, const Bounded& b) {
  const double sum = a.value + b.value;
  return {sum, a.error + b.error, sum, 1};
}

inline Bounded operator*(const Bounded& a, const Bounded& b) {
  const double product = a.value * b.value;
  return {product, std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error,
          product, 1};
}

inline Bounded operator-(const Bounded& a, const Bounded& b) { return a + b * Bounded(-1); }

/// A sum of n terms in whatever order, term(i) each.
template <typename Term>
Bounded sum_of(std::size_t n, Term&& term) {
  double sum = 0, size = 0, inherited = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Bounded x = term(i);
    sum += x.value;
    size += std::abs(x.value);
    inherited += x.error;
  }
  return {sum, inherited, size, static_cast<double>(n)};
}

/// f(x), where |f'| <= slope and the computation of f is right within 24 roundings of f(x)
/// (tests/kernels/rows_test).
template <typename Function>
Bounded apply(Function&& f, double slope, const Bounded& x) {
  const double result = f(x.value);
  return {result, slope * x.error, result, 24};
}

}  // namespace longreach::test
