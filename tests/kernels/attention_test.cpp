#include "kernels/attention.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace longreach::kernels {
namespace {

using test::Random;

constexpr double kEps = std::numeric_limits<float>::epsilon();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// Rows of keys and values, the keys also as panels.
struct Chunk {
  std::size_t n_rows;
  std::vector<float> keys, values, panels;

  Chunk(Random& random, std::size_t n)
      : n_rows(n),
        keys(random.normal(n * kHeadSize)),
        values(random.normal(n * kHeadSize)),
        panels(panel_count(n) * kPanelCols * kHeadSize) {
    for (std::size_t row = 0; row < n; ++row) {
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        panels[(row / kPanelCols * kHeadSize + d) * kPanelCols + row % kPanelCols] =
            keys[row * kHeadSize + d];
      }
    }
  }
  ChunkRows rows() const {
    return {{panels.data(), kHeadSize * kPanelCols, kPanelCols}, values.data()};
  }
};

/// What a single query sees of rows first .. last-1.
Partial attend_alone(std::span<const float> q, const Chunk& chunk, std::size_t first,
                     std::size_t last) {
  Partial partial;
  const auto end = static_cast<std::uint32_t>(last);
  attend({q.data(), 1, kHeadSize}, chunk.rows(), first, {&end, 1}, {&partial, 1});
  return partial;
}

class Attention : public test::EveryIsa {};
LR_ON_EVERY_ISA(Attention);

TEST_P(Attention, AgreesWithASoftmaxInDouble) {
  Random random;
  for (const std::size_t n : {1, 2, 31, 32, 33, 255, 256, 257, 300, 600}) {
    const Chunk chunk(random, n);
    const auto q = random.normal(kHeadSize);
    for (const std::size_t first : {std::size_t{0}, n / 3, n - 1}) {
      std::vector<double> scores, want(kHeadSize), size(kHeadSize);
      double largest_sum = 0;
      for (std::size_t row = first; row < n; ++row) {
        double score = 0, terms = 0;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          score += double{q[d]} * double{chunk.keys[row * kHeadSize + d]} / 8;
          terms += std::abs(double{q[d]} * double{chunk.keys[row * kHeadSize + d]}) / 8;
        }
        scores.push_back(score);
        largest_sum = std::max(largest_sum, terms);
      }
      const double max = *std::max_element(scores.begin(), scores.end());
      double weight = 0;
      for (double& score : scores) weight += score = std::exp(score - max);
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        for (std::size_t i = 0; i < scores.size(); ++i) {
          const double term =
              scores[i] / weight * double{chunk.values[(first + i) * kHeadSize + d]};
          want[d] += term;
          size[d] += std::abs(term);
        }
      }
      std::vector<float> got(kHeadSize);
      finish(attend_alone(q, chunk, first, n), got);
      // A score of 64 terms errs by 65 roundings of their size, exp passes that on as a relative
      // error, and sums over at most a block of rows, then over blocks, follow.
      const double relative =
          2 * (65 * largest_sum + static_cast<double>(kAttentionBlockRows) + 20) * kEps;
      ASSERT_TRUE(test::near(got, want, [&](std::size_t d) { return relative * size[d]; }))
          << n << " from " << first;
    }
  }
}

TEST_P(Attention, QueryHasTheSameBitsWhateverIsBesideIt) {
  Random random;
  const Chunk chunk(random, 600);
  const std::size_t n = 40;
  const auto q = random.normal(n * kHeadSize);
  for (const std::size_t first : {0, 5, 300}) {
    std::vector<std::uint32_t> last;
    for (std::size_t i = 0; i < n; ++i)
      last.push_back(static_cast<std::uint32_t>(std::min(first + 1 + i * 17, std::size_t{600})));
    std::vector<Partial> together(n);
    attend({q.data(), n, kHeadSize}, chunk.rows(), first, last, together);
    for (std::size_t i = 0; i < n; ++i) {
      const Partial alone =
          attend_alone(std::span(q).subspan(i * kHeadSize, kHeadSize), chunk, first, last[i]);
      ASSERT_EQ(together[i].max, alone.max) << i;
      ASSERT_EQ(together[i].weight, alone.weight) << i;
      ASSERT_TRUE(test::same_bits(together[i].sum, alone.sum)) << i;
    }
  }
}

TEST_P(Attention, LaterRowsOfANeighbourDoNoHarm) {
  Random random;
  Chunk chunk(random, 40);
  chunk.values[39 * kHeadSize] = kNan;
  chunk.panels[(32 / kPanelCols * kHeadSize) * kPanelCols + 39 % kPanelCols] = kNan;
  const auto q = random.normal(2 * kHeadSize);
  const std::uint32_t last[] = {39, 40};
  std::vector<Partial> partials(2);
  attend({q.data(), 2, kHeadSize}, chunk.rows(), 0, last, partials);
  EXPECT_TRUE(std::isfinite(partials[0].weight) && std::isfinite(partials[0].sum[0]));
  EXPECT_FALSE(std::isfinite(partials[1].sum[0]));
}

TEST_P(Attention, FirstPartialIsTakenAsItIs) {
  Random random;
  const Chunk chunk(random, 40);
  const auto q = random.normal(kHeadSize);
  const Partial partial = attend_alone(q, chunk, 0, 40);
  Partial total;
  merge(total, partial);
  EXPECT_EQ(total.max, partial.max);
  EXPECT_EQ(total.weight, partial.weight);
  EXPECT_TRUE(test::same_bits(total.sum, partial.sum));
}

TEST_P(Attention, MergedChunksAreOneSoftmax) {
  Random random;
  const Chunk a(random, 50), b(random, 70);
  const auto q = random.normal(kHeadSize);
  std::vector<double> want(kHeadSize), size(kHeadSize);
  double weight = 0, largest_sum = 0;
  for (const Chunk* chunk : {&a, &b}) {
    for (std::size_t row = 0; row < chunk->n_rows; ++row) {
      double score = 0, terms = 0;
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        const double term = double{q[d]} * double{chunk->keys[row * kHeadSize + d]} / 8;
        score += term;
        terms += std::abs(term);
      }
      largest_sum = std::max(largest_sum, terms);
      weight += std::exp(score);
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        const double term = std::exp(score) * double{chunk->values[row * kHeadSize + d]};
        want[d] += term;
        size[d] += std::abs(term);
      }
    }
  }
  for (double& x : want) x /= weight;
  for (double& x : size) x /= weight;
  // As above, with sums of at most 70 rows; the merge rounds a few times more.
  const double relative = 2 * (65 * largest_sum + 70 + 30) * kEps;
  const Partial of_a = attend_alone(q, a, 0, 50), of_b = attend_alone(q, b, 0, 70);
  // Either one may have the larger maximum, by which the other is scaled down.
  for (const auto& [first, second] : {std::pair(of_a, of_b), std::pair(of_b, of_a)}) {
    Partial total = first;
    merge(total, second);
    std::vector<float> got(kHeadSize);
    finish(total, got);
    EXPECT_TRUE(test::near(got, want, [&](std::size_t d) { return relative * size[d]; }));
  }
}

TEST_P(Attention, VotesAreASoftmax) {
  Random random;
  for (const std::size_t n : {1, 15, 16, 17, 100}) {
    auto scores = random.normal(n, 0, 10);
    std::vector<float> votes(n, 1.0F);
    std::vector<double> want(n);
    double weight = 0;
    for (const float s : scores) weight += std::exp(double{s} / 8);
    for (std::size_t i = 0; i < n; ++i) want[i] = 1 + std::exp(double{scores[i]} / 8) / weight;
    add_softmax(scores, votes);
    EXPECT_TRUE(
        test::near(votes, want, [&](std::size_t) { return (static_cast<double>(n) + 20) * kEps; }));
  }
}

std::vector<std::uint32_t> chosen_of(const std::vector<float>& scores, std::size_t k) {
  std::vector<std::uint32_t> chosen(k);
  chosen.resize(choose_chunks(scores, k, chosen));
  return chosen;
}

TEST_P(Attention, ChoosesByScoreThenByNumber) {
  using Ids = std::vector<std::uint32_t>;
  EXPECT_EQ(chosen_of({1, 3, 2, 5, 4}, 2), (Ids{3, 4}));
  EXPECT_EQ(chosen_of({7, 7, 7, 7}, 2), (Ids{0, 1}));
  EXPECT_EQ(chosen_of({1, 7, 7, 8, 7}, 3), (Ids{1, 2, 3}));
  EXPECT_EQ(chosen_of({kNan, 1, kNan, -kInf, 2}, 3), (Ids{1, 3, 4}));
  EXPECT_EQ(chosen_of({kNan, kNan}, 1), Ids{});
  EXPECT_EQ(chosen_of({-kInf, -kInf, kInf}, 2), (Ids{0, 2}));
  EXPECT_EQ(chosen_of({1, 2}, 5), (Ids{0, 1}));
  EXPECT_EQ(chosen_of({1, 2}, 0), Ids{});
  EXPECT_EQ(chosen_of({}, 2), Ids{});
}

TEST_P(Attention, ChoosesLikeAStableSort) {
  Random random;
  for (int round = 0; round < 300; ++round) {
    const std::size_t n = random.whole(1, 200), k = random.whole(1, 9);
    std::vector<float> scores(n);
    for (float& s : scores) s = static_cast<float>(random.whole(0, 30)) - 10;  // many ties
    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return scores[a] > scores[b]; });
    order.resize(std::min(n, k));
    std::sort(order.begin(), order.end());
    ASSERT_EQ(chosen_of(scores, k), order);
  }
}

}  // namespace
}  // namespace longreach::kernels
