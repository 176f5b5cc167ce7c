/// What the choice of chunks misses, against sums over all rows in double.
#include "model/cache/selection_mass.hpp"

#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <numeric>

namespace longreach::model {
namespace {

using kernels::kHeadSize;

constexpr std::size_t kHeads = 3;
constexpr std::size_t kChunk = 20;  // no multiple of what keys are packed by
constexpr std::size_t kTopK = 3;

/// Measures every query, and remembers what it sees; queries are rows of the cache.
class Listener final : public Observer {
 public:
  std::size_t first_row = 0;
  std::map<std::pair<std::size_t, std::size_t>, std::vector<GlobalChunk>> choices;
  std::map<std::pair<std::size_t, std::size_t>, MassShares> shares;

  void see_choice(std::size_t head, std::size_t query,
                  std::span<const GlobalChunk> chunks) override {
    choices[{head, first_row + query}] = {chunks.begin(), chunks.end()};
  }
  bool measures(std::size_t) const override { return true; }
  void see_mass(std::size_t head, std::size_t query, MassShares share) override {
    EXPECT_TRUE(shares.emplace(std::pair(head, first_row + query), share).second);
  }
};

class SelectionMass : public testing::Test {
 protected:
  /// Passes rows of random q, k and v through selection and measurement, in steps of these sizes.
  void pass(AttentionMode mode, const std::vector<std::size_t>& steps) {
    attention.mode = mode;
    attention.chunk_size = kChunk;
    attention.top_k = kTopK;
    config.n_head = kHeads;
    config.n_embd = kColumns;
    Workspace workspace(config, pool.size());
    const Weights weights;
    NoExchange alone;
    Context context{config, attention, weights, workspace, pool, alone, {}, &listener};
    KvCache cache(kHeads, kChunk, base::KvFormat::kF32, alone);
    for (const std::size_t n : steps) {
      const std::size_t first = cache.size();
      listener.first_row = first;
      const auto q = more(queries, n), k = more(keys, n);
      cache.append(k, more(values, n), pool);
      const std::array segments{SegmentCache{&cache, 0, n}};
      workspace.selection.begin(segments, kHeads, kChunk, [this](std::size_t row) {
        return attention_span_of(attention, row);
      });
      select_chunks(context, q);
      measure_selection(context, q);
    }
  }

  /// What double arithmetic gives for a row's query in a head, and how far f32 may be from it.
  struct Expected {
    double seen, best, bound;
  };
  Expected expected(std::size_t head, std::size_t row) const {
    constexpr double kUnit = 0x1p-24;
    std::vector<double> scores;
    double size = 0;  // of a score's terms
    for (std::size_t r = 0; r <= row; ++r) {
      double score = 0, terms = 0;
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        const double term = static_cast<double>(queries[row * kColumns + head * kHeadSize + d]) *
                            static_cast<double>(keys[r * kColumns + head * kHeadSize + d]) / 8;
        score += term;
        terms += std::abs(term);
      }
      scores.push_back(score);
      size = std::max(size, terms);
    }
    std::vector<double> masses(row / kChunk + 1);
    for (std::size_t r = 0; r <= row; ++r) masses[r / kChunk] += std::exp(scores[r]);
    const double total = std::accumulate(masses.begin(), masses.end(), 0.0);
    const double own = masses.back();
    double seen = own;
    const std::vector<double> closed(masses.begin(), masses.end() - 1);
    if (const auto choice = listener.choices.find({head, row}); choice != listener.choices.end()) {
      EXPECT_EQ(choice->second.size(), kTopK - 1);
      for (const GlobalChunk chunk : choice->second) seen += closed[number_of(chunk)];
    } else {
      seen = total;
    }
    std::vector<double> sorted = closed;
    std::ranges::sort(sorted, std::greater());
    double best = own;
    for (std::size_t i = 0; i < std::min(kTopK - 1, sorted.size()); ++i) best += sorted[i];
    // Scores are sums of 64 products, of which two maxima are taken off; weights are sums over a
    // chunk, of exponentials that are right in all bits but the last few. A share is a quotient.
    const double mass_error = (66 * size + kChunk + 16) * kUnit;
    return {seen / total, best / total, 2 * mass_error};
  }

  static constexpr std::size_t kColumns = kHeads * kHeadSize;
  test::Random random;
  ModelConfig config;
  AttentionConfig attention;
  kernels::ThreadPool pool{2};
  Listener listener;
  std::vector<float> queries, keys, values;  ///< All rows so far.

 private:
  base::MatView<const float> more(std::vector<float>& rows, std::size_t n) {
    const std::vector<float> added = random.normal(n * kColumns, 0, 1.5F);
    rows.insert(rows.end(), added.begin(), added.end());
    return {rows.data() + rows.size() - added.size(), n, kColumns};
  }
};

TEST_F(SelectionMass, SharesAreThoseOfSumsOverAllRows) {
  pass(AttentionMode::kMoba, {1, 18, 1, 1, 40, 1, 120, 3});
  const std::size_t n_rows = queries.size() / kColumns;
  EXPECT_EQ(listener.shares.size(), kHeads * n_rows);
  std::size_t n_missing = 0, n_worse = 0;
  for (const auto& [place, shares] : listener.shares) {
    const auto [head, row] = place;
    const Expected want = expected(head, row);
    EXPECT_NEAR(static_cast<double>(shares.seen), want.seen, want.bound) << head << " " << row;
    EXPECT_NEAR(static_cast<double>(shares.best), want.best, want.bound) << head << " " << row;
    n_missing += shares.seen < 0.9F ? 1 : 0;
    n_worse += shares.seen < shares.best ? 1 : 0;
    if (row < kTopK * kChunk) {
      EXPECT_EQ(shares, (MassShares{1, 1})) << head << " " << row;
    }
  }
  EXPECT_GT(n_missing, n_rows / 2);  // random keys lie anywhere
  EXPECT_GT(n_worse, n_rows / 2);
}

TEST_F(SelectionMass, WhoSeesEverythingHasAllOfIt) {
  pass(AttentionMode::kFull, {7, 100, 1});
  EXPECT_EQ(listener.shares.size(), kHeads * 108);
  for (const auto& [place, shares] : listener.shares) {
    EXPECT_EQ(shares, (MassShares{1, 1})) << place.first << " " << place.second;
  }
}

}  // namespace
}  // namespace longreach::model
