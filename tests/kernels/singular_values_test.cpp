#include "kernels/decomposition/singular_values.hpp"

#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace longreach::kernels {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

std::vector<double> random_matrix(test::Random& random, std::size_t n_out, std::size_t n_in) {
  const std::vector<float> numbers = random.normal(n_out * n_in);
  return {numbers.begin(), numbers.end()};
}

double norm_of(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number * number;
  return std::sqrt(sum);
}

/// A backward error of LAPACK: a modest polynomial of the sizes times eps.
double bound_of(std::size_t n_out, std::size_t n_in) {
  return 10 * static_cast<double>(n_out + n_in) * kEps;
}

/// |columns^T columns - 1|, of n columns of `size` numbers: element (i, c) is at(i, c).
template <typename At>
double distance_from_orthonormal(std::size_t size, std::size_t n, At&& at) {
  std::vector<double> differences;
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b) {
      double sum = a == b ? -1 : 0;
      for (std::size_t i = 0; i < size; ++i) sum += at(i, a) * at(i, b);
      differences.push_back(sum);
    }
  }
  return norm_of(differences);
}

const std::vector<std::pair<std::size_t, std::size_t>> kSizes = {
    {1, 1}, {1, 7}, {7, 1}, {5, 5}, {31, 64}, {64, 31}, {129, 40}, {200, 200},
};

TEST(SingularValues, MultiplyToTheMatrix) {
  test::Random random;
  const Lapack lapack;
  for (const auto& [n_out, n_in] : kSizes) {
    SCOPED_TRACE(testing::Message() << n_out << " x " << n_in);
    const std::vector<double> matrix = random_matrix(random, n_out, n_in);
    const SingularValues svd = lapack.decompose(matrix, n_out, n_in);
    const std::size_t k = std::min(n_out, n_in);
    ASSERT_EQ(svd.values.size(), k);
    EXPECT_TRUE(std::ranges::is_sorted(svd.values.span(), std::ranges::greater()));
    EXPECT_GE(svd.values[k - 1], 0);
    std::vector<double> differences;
    for (std::size_t o = 0; o < n_out; ++o) {
      for (std::size_t i = 0; i < n_in; ++i) {
        double sum = -matrix[o * n_in + i];
        for (std::size_t r = 0; r < k; ++r) {
          sum += svd.left[o * k + r] * svd.values[r] * svd.right[r * n_in + i];
        }
        differences.push_back(sum);
      }
    }
    const double bound = bound_of(n_out, n_in);
    EXPECT_LE(norm_of(differences), bound * norm_of(matrix));
    EXPECT_LE(
        distance_from_orthonormal(n_out, k, [&](auto i, auto c) { return svd.left[i * k + c]; }),
        bound * static_cast<double>(k));
    EXPECT_LE(
        distance_from_orthonormal(n_in, k, [&](auto i, auto c) { return svd.right[c * n_in + i]; }),
        bound * static_cast<double>(k));
  }
}

/// By hand: 3 and 2 are those of a matrix with these in swapped rows.
TEST(SingularValues, OfASmallMatrix) {
  const Lapack lapack;
  const SingularValues svd = lapack.decompose(std::vector<double>{0, 2, 0, -3, 0, 0}, 2, 3);
  EXPECT_NEAR(svd.values[0], 3, 10 * kEps);
  EXPECT_NEAR(svd.values[1], 2, 10 * kEps);
  EXPECT_NEAR(std::abs(svd.left[2]), 1, 10 * kEps);   // row 1 of U's first column
  EXPECT_NEAR(std::abs(svd.right[0]), 1, 10 * kEps);  // V^T's first row
}

/// Wherever the matrix lies in memory, and whatever was decomposed before.
TEST(SingularValues, AreTheSameBitsAgain) {
  test::Random random;
  const Lapack lapack;
  const std::vector<double> matrix = random_matrix(random, 151, 221);
  const SingularValues expected = lapack.decompose(matrix, 151, 221);
  for (std::size_t offset = 0; offset < 8; ++offset) {
    std::vector<double> moved(offset);
    moved.insert(moved.end(), matrix.begin(), matrix.end());
    const SingularValues found =
        Lapack().decompose(std::span<const double>(moved).subspan(offset), 151, 221);
    EXPECT_TRUE(std::ranges::equal(found.values.span(), expected.values.span()));
    EXPECT_TRUE(std::ranges::equal(found.left.span(), expected.left.span()));
    EXPECT_TRUE(std::ranges::equal(found.right.span(), expected.right.span()));
  }
}

}  // namespace
}  // namespace longreach::kernels
