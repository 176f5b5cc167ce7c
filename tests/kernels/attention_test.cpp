#include "kernels/attention/attention.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/kv_formats.hpp"
#include "tests/support/random.hpp"
#include "tests/support/rounded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace longreach::kernels {
namespace {

using test::Random;

constexpr double kEps = std::numeric_limits<float>::epsilon();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// Random rows of keys and values, as they were given and as they are kept.
struct Chunk {
  HeadLayout layout;
  std::vector<float> given_keys, given_values, keys, values;
  std::vector<std::byte> memory;

  Chunk(Random& random, std::size_t n, base::KvFormat format = base::KvFormat::kF32)
      : layout(format, n),
        given_keys(random.normal(n * kHeadSize)),
        given_values(random.normal(n * kHeadSize)),
        keys(n * kHeadSize),
        values(n * kHeadSize),
        memory(layout.size_bytes()) {
    for (std::size_t row = 0; row < n; ++row) put(row);
  }
  /// Keeps a row as it is given now.
  void put(std::size_t row) {
    const auto of_row = [row](std::vector<float>& all) {
      return std::span(all).subspan(row * kHeadSize, kHeadSize);
    };
    layout.put(memory.data(), row, of_row(given_keys), of_row(given_values));
    read_row(rows(), row, of_row(keys), of_row(values));
  }
  ChunkRows rows() const { return layout.rows(memory.data()); }
};

/// A softmax over rows in double: sum of weight * value by channel, and of |weight * value|.
struct Softmax {
  std::vector<double> want = std::vector<double>(kHeadSize), size = want;
  double largest_score = 0;  ///< Sum of |q k| / 8 of a row.

  Softmax(std::span<const float> q, std::span<const float> keys, std::span<const float> values) {
    const std::size_t n_rows = keys.size() / kHeadSize;
    std::vector<double> scores;
    for (std::size_t row = 0; row < n_rows; ++row) {
      double score = 0, terms = 0;
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        const double term = double{q[d]} * double{keys[row * kHeadSize + d]} / 8;
        score += term;
        terms += std::abs(term);
      }
      scores.push_back(score);
      largest_score = std::max(largest_score, terms);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double weight = 0;
    for (double& score : scores) weight += score = std::exp(score - max);
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      for (std::size_t row = 0; row < n_rows; ++row) {
        const double term = scores[row] / weight * double{values[row * kHeadSize + d]};
        want[d] += term;
        size[d] += std::abs(term);
      }
    }
  }
  /// What rounding costs an attention that is computed in f32, with sums of up to n_terms weights:
  /// a score of 64 terms and its scale errs by 66 roundings of their size, exp passes that on as a
  /// relative error, and sums over blocks follow.
  std::function<double(std::size_t)> rounding(std::size_t n_terms) const {
    const double relative = 2 * (66 * largest_score + static_cast<double>(n_terms) + 21) * kEps;
    return [this, relative](std::size_t d) { return relative * size[d]; };
  }
};

constexpr base::Activations kAllActivations[] = {base::Activations::kF32, base::Activations::kBf16,
                                                 base::Activations::kInt8};

/// What a single query sees of rows first .. last-1.
Partial attend_alone(std::span<const float> q, const Chunk& chunk, std::size_t first,
                     std::size_t last, base::Activations activations = base::Activations::kF32) {
  Partial partial;
  const auto end = static_cast<std::uint32_t>(last);
  attend({q.data(), 1, kHeadSize}, chunk.rows(), first, {&end, 1}, {&partial, 1}, {}, activations);
  return partial;
}

class Attention : public test::EveryIsa {};
LR_ON_EVERY_ISA(Attention);

TEST_P(Attention, AgreesWithASoftmaxInDouble) {
  Random random;
  for (const auto format : test::kKvFormats) {
    for (const std::size_t n : {1, 2, 31, 32, 33, 255, 256, 257, 300, 600}) {
      const Chunk chunk(random, n, format);
      const auto q = random.normal(kHeadSize);
      for (const std::size_t first : {std::size_t{0}, n / 3, n - 1}) {
        const std::size_t from = first * kHeadSize;
        const Softmax exact(q, std::span(chunk.keys).subspan(from),
                            std::span(chunk.values).subspan(from));
        std::vector<float> got(kHeadSize);
        finish(attend_alone(q, chunk, first, n), got);
        ASSERT_TRUE(test::near(got, exact.want, exact.rounding(kAttentionBlockRows)))
            << name_of(format) << ", " << n << " from " << first;
      }
    }
  }
}

TEST_P(Attention, RoundedQueriesAndWeightsErrByTheirRounding) {
  constexpr double kHalfUlp = 1.0 / 512;  // of a bf16, relative
  Random random;
  for (const auto format : {base::KvFormat::kBf16, base::KvFormat::kInt8}) {
    for (const std::size_t n : {1, 2, 31, 33, 255, 256, 257, 600}) {
      const Chunk chunk(random, n, format);
      const auto q = random.normal(kHeadSize);
      const auto rounded = test::rounded(q);
      const Softmax exact(rounded, chunk.keys, chunk.values);
      const auto rounding = exact.rounding(kAttentionBlockRows);
      for (const auto activations : {base::Activations::kBf16, base::Activations::kInt8}) {
        std::vector<float> got(kHeadSize);
        finish(attend_alone(q, chunk, 0, n, activations), got);
        ASSERT_TRUE(test::near(
            got, exact.want,
            [&](std::size_t d) { return kHalfUlp * exact.size[d] + (1 + kHalfUlp) * rounding(d); }))
            << name_of(format) << ", " << n;
      }
      // A cache of f32 meets f32, and queries that have no more bits than bf16 lose none.
      const Chunk exact_chunk(random, n);
      EXPECT_TRUE(test::same_bits(attend_alone(q, exact_chunk, 0, n, base::Activations::kInt8).sum,
                                  attend_alone(q, exact_chunk, 0, n).sum));
      EXPECT_EQ(attend_alone(rounded, chunk, 0, n, base::Activations::kBf16).max,
                attend_alone(rounded, chunk, 0, n).max);
      EXPECT_EQ(attend_alone(rounded, chunk, 0, n, base::Activations::kBf16).weight,
                attend_alone(rounded, chunk, 0, n).weight);
      if (n == 1) continue;  // its weight is 1
      EXPECT_FALSE(test::same_bits(attend_alone(rounded, chunk, 0, n, base::Activations::kBf16).sum,
                                   attend_alone(rounded, chunk, 0, n).sum));
    }
  }
}

TEST_P(Attention, WeightsOfSpansAreThoseOfTheSoftmax) {
  Random random;
  for (const auto format : test::kKvFormats) {
    for (const std::size_t n : {1, 31, 32, 33, 256, 300, 600}) {
      const Chunk chunk(random, n, format);
      // The second of three queries is not asked about, and the first sees less.
      const auto q = random.normal(3 * kHeadSize);
      const auto end = static_cast<std::uint32_t>(n);
      const std::vector<std::uint32_t> last{(end + 1) / 2, end, end};
      std::vector<SpanWeights> weights(2 * (n / kAttentionBlockRows + 1));
      const std::vector<SpanWeights*> where{weights.data(), nullptr,
                                            weights.data() + weights.size() / 2};
      std::vector<Partial> partials(3), plain(3);
      attend({q.data(), 3, kHeadSize}, chunk.rows(), 0, last, partials, where);
      attend({q.data(), 3, kHeadSize}, chunk.rows(), 0, last, plain);
      for (const std::size_t i : {0, 1, 2}) {
        ASSERT_TRUE(test::same_bits(partials[i].sum, plain[i].sum));
        ASSERT_EQ(partials[i].weight, plain[i].weight);
        if (where[i] == nullptr) continue;
        std::vector<double> want;
        double total = 0, largest = 0;
        for (std::size_t row = 0; row < last[i]; ++row) {
          double score = 0, size = 0;
          for (std::size_t d = 0; d < kHeadSize; ++d) {
            const double term =
                double{q[i * kHeadSize + d]} * double{chunk.keys[row * kHeadSize + d]} / 8;
            score += term;
            size += std::abs(term);
          }
          if (row % kSpanRows == 0) want.push_back(0);
          want.back() += std::exp(score);
          total += std::exp(score);
          largest = std::max(largest, size);
        }
        for (std::size_t span = 0; span < want.size(); ++span) {
          constexpr std::size_t kSpans = kAttentionBlockRows / kSpanRows;
          SpanWeights block = where[i][span / kSpans];
          normalise(partials[i].max, partials[i].weight, block);
          const double share = want[span] / total;
          const double error = (4 * 66 * largest + 300) * kEps;
          ASSERT_NEAR(double{block.spans[span % kSpans]}, share, error * share)
              << name_of(format) << ", " << n << ", query " << i << ", span " << span;
        }
      }
    }
  }
}

TEST_P(Attention, FormatsCostNoMoreThanTheirRowsErr) {
  Random random;
  for (const auto format : test::kKvFormats) {
    const Chunk chunk(random, 300, format);
    const auto q = random.normal(kHeadSize);
    const Softmax exact(q, chunk.given_keys, chunk.given_values);
    double score_error = 0, value_error = 0;
    for (std::size_t row = 0; row < 300; ++row) {
      const auto of_row = [row](const std::vector<float>& all) {
        return std::span(all).subspan(row * kHeadSize, kHeadSize);
      };
      const auto key_error = test::kept_error(format, of_row(chunk.given_keys));
      const auto error = test::kept_error(format, of_row(chunk.given_values));
      double sum = 0;
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        sum += std::abs(double{q[d]}) * key_error(d) / 8;
        value_error = std::max(value_error, error(d));
      }
      score_error = std::max(score_error, sum);
    }
    std::vector<float> got(kHeadSize);
    finish(attend_alone(q, chunk, 0, 300), got);
    const auto rounding = exact.rounding(kAttentionBlockRows);
    // Scores that are off by e at most change each weight by a factor of exp(2e) at most.
    const double factor = std::exp(2 * score_error);
    EXPECT_TRUE(test::near(got, exact.want, [&](std::size_t d) {
      return (factor - 1) * exact.size[d] + value_error + factor * rounding(d);
    })) << name_of(format);
  }
}

TEST_P(Attention, KeysAreScoredAsTheyAreKept) {
  Random random;
  for (const auto format : test::kKvFormats) {
    for (const std::size_t n : {1, 32, 45, 300}) {
      const Chunk chunk(random, n, format);
      const auto q = random.normal(2 * kHeadSize);
      std::vector<float> got(2 * n);
      score_keys({q.data(), 2, kHeadSize}, chunk.rows(), {got.data(), 2, n});
      std::vector<double> want, size;
      for (std::size_t i = 0; i < 2 * n; ++i) {
        double score = 0, terms = 0;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          const double term =
              double{q[i / n * kHeadSize + d]} * double{chunk.keys[i % n * kHeadSize + d]};
          score += term;
          terms += std::abs(term);
        }
        want.push_back(score);
        size.push_back(terms);
      }
      // 64 terms in turn, then the scale.
      EXPECT_TRUE(test::near(got, want, [&](std::size_t i) { return 65 * kEps * size[i]; }))
          << name_of(format) << ", " << n;
    }
  }
}

void expect_same(const Partial& got, const Partial& want, const std::string& what) {
  EXPECT_EQ(got.max, want.max) << what;
  EXPECT_EQ(got.weight, want.weight) << what;
  EXPECT_TRUE(test::same_bits(got.sum, want.sum)) << what;
}

TEST_P(Attention, QueryHasTheSameBitsWhateverIsBesideIt) {
  Random random;
  const std::size_t n = 40;
  const auto q = random.normal(n * kHeadSize);
  for (const auto format : test::kKvFormats) {
    const Chunk chunk(random, 600, format);
    for (const std::size_t first : {0, 5, 300}) {
      std::vector<std::uint32_t> last;
      for (std::size_t i = 0; i < n; ++i)
        last.push_back(static_cast<std::uint32_t>(std::min(first + 1 + i * 17, std::size_t{600})));
      for (const auto activations : kAllActivations) {
        std::vector<Partial> together(n);
        attend({q.data(), n, kHeadSize}, chunk.rows(), first, last, together, {}, activations);
        for (std::size_t i = 0; i < n; ++i) {
          const Partial alone = attend_alone(std::span(q).subspan(i * kHeadSize, kHeadSize), chunk,
                                             first, last[i], activations);
          expect_same(together[i], alone,
                      std::string(name_of(format)) + ", query " + std::to_string(i));
        }
      }
    }
  }
}

TEST_P(Attention, RowsThatHaveTravelledGiveTheSameBits) {
  Random random;
  const auto q = random.normal(kHeadSize);
  for (const auto format : test::kKvFormats) {
    const Chunk chunk(random, 300, format);
    for (const std::size_t n : {1, 77, 288}) {
      const HeadLayout layout(format, n);
      std::vector<std::byte> copy(layout.size_bytes());
      layout.copy(chunk.rows(), copy.data());
      Partial there;
      const auto last = static_cast<std::uint32_t>(n);
      attend({q.data(), 1, kHeadSize}, layout.rows(copy.data()), 0, {&last, 1}, {&there, 1});
      expect_same(there, attend_alone(q, chunk, 0, n), std::string(name_of(format)));
    }
  }
}

TEST_P(Attention, LaterRowsOfANeighbourDoNoHarm) {
  Random random;
  for (const auto format : test::kKvFormats) {
    for (const std::size_t n_before : {1, 20}) {  // few queries and many
      Chunk chunk(random, 40, format);
      chunk.given_values[39 * kHeadSize] = kNan;
      chunk.given_keys[39 * kHeadSize] = kNan;
      chunk.put(39);
      const auto q = random.normal((n_before + 1) * kHeadSize);
      std::vector<std::uint32_t> last(n_before, 39);
      last.push_back(40);
      for (const auto activations : kAllActivations) {
        std::vector<Partial> partials(n_before + 1);
        attend({q.data(), n_before + 1, kHeadSize}, chunk.rows(), 0, last, partials, {},
               activations);
        for (std::size_t i = 0; i < n_before; ++i) {
          EXPECT_TRUE(std::isfinite(partials[i].weight) && std::isfinite(partials[i].sum[0]));
        }
        EXPECT_TRUE(std::isnan(partials.back().sum[0]) && std::isnan(partials.back().weight));
      }
    }
  }
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
  std::vector<float> keys = a.keys, values = a.values;
  keys.insert(keys.end(), b.keys.begin(), b.keys.end());
  values.insert(values.end(), b.values.begin(), b.values.end());
  const Softmax exact(q, keys, values);
  const Partial of_a = attend_alone(q, a, 0, 50), of_b = attend_alone(q, b, 0, 70);
  // Either one may have the larger maximum, by which the other is scaled down.
  for (const auto& [first, second] : {std::pair(of_a, of_b), std::pair(of_b, of_a)}) {
    Partial total = first;
    merge(total, second);
    std::vector<float> got(kHeadSize);
    finish(total, got);
    // Sums of at most 70 rows; the merge rounds a few times more.
    EXPECT_TRUE(test::near(got, exact.want, exact.rounding(80)));
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
