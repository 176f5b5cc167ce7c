#include "model/low_rank.hpp"

#include "model/checkpoint/checkpoint.hpp"
#include "model/schema/config.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

constexpr double kEps = std::numeric_limits<float>::epsilon();

constexpr std::string_view kName = "m.safetensors: tensor blocks.0.m";

/// A matrix of f32 numbers in memory.
struct Matrix {
  std::size_t n_out, n_in;
  std::vector<float> numbers;

  Tensor tensor() const {
    Tensor tensor;
    tensor.shape = {n_out, n_in};
    tensor.strides = contiguous_strides(tensor.shape);
    tensor.data = reinterpret_cast<const std::byte*>(numbers.data());
    return tensor;
  }
  double norm() const {
    double sum = 0;
    for (const double number : numbers) sum += number * number;
    return std::sqrt(sum);
  }
};

/// Of rank `rank`: a product of random factors of whole numbers, which f32 holds exactly.
Matrix product_of_rank(test::Random& random, std::size_t n_out, std::size_t n_in,
                       std::size_t rank) {
  Matrix matrix{n_out, n_in, std::vector<float>(n_out * n_in)};
  for (std::size_t r = 0; r < rank; ++r) {
    std::vector<float> left(n_out), right(n_in);
    for (float& number : left) number = std::round(random.uniform(1, -9, 9)[0]);
    for (float& number : right) number = std::round(random.uniform(1, -9, 9)[0]);
    for (std::size_t o = 0; o < n_out; ++o) {
      for (std::size_t i = 0; i < n_in; ++i) matrix.numbers[o * n_in + i] += left[o] * right[i];
    }
  }
  return matrix;
}

/// |W - B A| / |W|.
double distance(const Matrix& matrix, const LowRankFactors& factors) {
  double sum = 0;
  for (std::size_t o = 0; o < matrix.n_out; ++o) {
    for (std::size_t i = 0; i < matrix.n_in; ++i) {
      double difference = matrix.numbers[o * matrix.n_in + i];
      for (std::size_t r = 0; r < factors.rank; ++r) {
        difference -= double{factors.second[o * factors.rank + r]} *
                      double{factors.first[r * matrix.n_in + i]};
      }
      sum += difference * difference;
    }
  }
  return std::sqrt(sum) / matrix.norm();
}

/// What rounding both factors to f32 adds to that: each is off by eps / 2 of its numbers, whose
/// norms are sqrt(rank) and |W|.
double rounding_bound(const LowRankFactors& factors) {
  return kEps * std::sqrt(static_cast<double>(factors.rank)) + 1e-12;
}

TEST(LowRank, RankIsTheLeastThatKeepsTheEnergy) {
  const std::vector<double> values{4, 2, 2, 1, 0};  // squares: 16, 4, 4, 1, 0, together 25
  EXPECT_EQ(rank_for(values, 0.01), 1U);
  EXPECT_EQ(rank_for(values, 0.63), 1U);
  EXPECT_EQ(rank_for(values, 0.65), 2U);
  EXPECT_EQ(rank_for(values, 0.79), 2U);
  EXPECT_EQ(rank_for(values, 0.81), 3U);
  EXPECT_EQ(rank_for(values, 0.95), 3U);
  EXPECT_EQ(rank_for(values, 0.97), 4U);
  EXPECT_EQ(rank_for(values, 1 - 1e-15), 4U);
  EXPECT_EQ(rank_for(std::vector<double>{0, 0, 0}, 0.5), 1U);
}

TEST(LowRank, OfAProductIsFoundExactly) {
  test::Random random;
  const kernels::Lapack lapack;
  for (const auto& [n_out, n_in] : {std::pair{40U, 40U}, {96U, 33U}, {33U, 96U}}) {
    for (const std::size_t rank : {1U, 2U, 7U, 15U}) {
      const Matrix matrix = product_of_rank(random, n_out, n_in, rank);
      const auto factors = low_rank_factors(matrix.tensor(), kName, 1 - 1e-13, lapack);
      EXPECT_EQ(factors.rank, rank);
      ASSERT_TRUE(factors.saves());
      ASSERT_EQ(factors.first.size(), rank * n_in);
      ASSERT_EQ(factors.second.size(), n_out * rank);
      EXPECT_LE(distance(matrix, factors), rounding_bound(factors));
    }
  }
}

/// Eckart and Young: what is lost is what the singular values left out say.
TEST(LowRank, ErrorIsTheEnergyThatIsLeftOut) {
  test::Random random;
  const kernels::Lapack lapack;
  for (const auto& [n_out, n_in] : {std::pair{60U, 60U}, {100U, 44U}, {44U, 100U}}) {
    const Matrix matrix{n_out, n_in, random.normal(n_out * n_in)};
    for (const double energy : {0.1, 0.3, 0.5, 0.7}) {
      const auto factors = low_rank_factors(matrix.tensor(), kName, energy, lapack);
      ASSERT_TRUE(factors.saves()) << energy;
      EXPECT_LE(factors.error, std::sqrt(1 - energy));
      EXPECT_NEAR(distance(matrix, factors), factors.error, rounding_bound(factors));
    }
  }
}

TEST(LowRank, FactorsThatSaveNothingAreNone) {
  test::Random random;
  const kernels::Lapack lapack;
  const Matrix matrix = product_of_rank(random, 24, 24, 12);  // 12 * 48 numbers are 24 * 24
  const auto half = low_rank_factors(matrix.tensor(), kName, 1 - 1e-13, lapack);
  EXPECT_EQ(half.rank, 12U);
  EXPECT_FALSE(half.saves());
  const Matrix less = product_of_rank(random, 24, 24, 11);
  EXPECT_TRUE(low_rank_factors(less.tensor(), kName, 1 - 1e-13, lapack).saves());
}

TEST(LowRank, OfZerosIsOneColumnOfZeroSize) {
  const kernels::Lapack lapack;
  const Matrix zeros{8, 8, std::vector<float>(64)};
  const auto factors = low_rank_factors(zeros.tensor(), kName, 0.5, lapack);
  EXPECT_EQ(factors.rank, 1U);
  EXPECT_EQ(factors.error, 0);
  EXPECT_TRUE(std::ranges::all_of(factors.first, [](float number) { return number == 0; }));
}

TEST(LowRank, NumbersThatAreNotFiniteAreRefused) {
  const kernels::Lapack lapack;
  for (const float number : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    Matrix matrix{8, 8, std::vector<float>(64)};
    matrix.numbers[37] = number;
    test::expect_refused([&] { low_rank_factors(matrix.tensor(), kName, 0.5, lapack); },
                         std::string(kName));
  }
}

TEST(LowRank, IsThatOfLinearLayersOfBlocks) {
  ModelConfig config = read_config(Checkpoint::open("preset:rwkv-x-tiny"));  // 4 + 2 blocks
  std::set<std::string> names;
  for (const ListedTensor& tensor : list_linear_layers(config)) names.insert(tensor.name);
  EXPECT_EQ(names.size(), 36U);
  for (const char* const name : {"blocks.3.att.receptance.weight", "moba.1.att.output.weight",
                                 "blocks.0.ffn.value.weight"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  config.factor_ranks.emplace("blocks.3.att.receptance.weight", 5);
  EXPECT_EQ(list_linear_layers(config).size(), 35U);
}

TEST(LowRank, FactorsAreListedInThePlaceOfTheirMatrix) {
  ModelConfig config = read_config(Checkpoint::open("preset:rwkv-x-tiny"));  // 128 channels
  config.factor_ranks.emplace("blocks.1.ffn.value.weight", 5);
  std::set<std::pair<std::string, std::vector<std::size_t>>> found;
  for (const ListedTensor& tensor : list_tensors(config)) {
    if (tensor.name.starts_with("blocks.1.ffn.value")) found.emplace(tensor.name, tensor.shape);
  }
  EXPECT_EQ(found, (decltype(found){{"blocks.1.ffn.value.weight_a", {5, 512}},
                                    {"blocks.1.ffn.value.weight_b", {128, 5}}}));
}

}  // namespace
}  // namespace longreach::model
