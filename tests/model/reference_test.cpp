/// Mode `reference` against the table and the steps of model-spec sections 4.3 and 4.4.
#include "model/reference/eviction.hpp"
#include "model/reference/span.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longreach::model::reference {
namespace {

using kernels::kHeadSize;

TEST(ReferenceSpan, IsThatOfTheTable) {
  AttentionConfig config;
  config.chunk_size = 4;
  config.top_k = 2;
  const auto expect = [&](CallRows call, std::size_t row, std::size_t first, std::size_t chosen) {
    const AttentionSpan span = span_of(config, call, row);
    EXPECT_EQ(span.first_row, first) << call.first_row << " " << call.n_tokens << " " << row;
    EXPECT_EQ(span.n_chosen, chosen) << call.first_row << " " << call.n_tokens << " " << row;
  };
  expect({3, 5}, 7, 0, 0);  // n + T = window
  expect({3, 6}, 6, 3, 0);  // more: chunks from the call's first token
  expect({3, 6}, 7, 7, 0);  // its second chunk
  expect({8, 1}, 8, 0, 0);  // n = window
  expect({9, 1}, 9, 8, 2);  // more: chosen chunks and n mod B rows
  expect({12, 1}, 12, 12, 2);
  config.decode_full = true;
  expect({12, 1}, 12, 0, 0);
  expect({12, 9}, 20, 20, 0);  // of one-token calls only
}

TEST(ReferenceEviction, KeepsEveryHeadsRowsOfMostVotesThenTheWindow) {
  constexpr std::size_t kHeads = 2, kChannels = kHeads * kHeadSize, kRows = 37, kQueries = 5;
  test::Random random;
  ModelConfig config;
  config.n_head = kHeads;
  config.n_embd = kChannels;
  AttentionConfig attention;
  attention.kv_max = 30;
  attention.kv_min = 20;
  attention.kv_window = 7;
  EXPECT_TRUE(eviction_due(attention, 31));
  EXPECT_FALSE(eviction_due(attention, 30));
  NoExchange alone;
  kernels::ThreadPool pool{2};
  Workspace workspace(config, pool.size());
  const Weights weights;
  Observer nobody;
  Context context{config, attention, weights, workspace, pool, alone, {}, &nobody};
  KvCache cache(kHeads, 12, base::KvFormat::kF32, alone);
  std::vector<float> k = random.normal(kRows * kChannels);
  const std::vector<float> v = random.normal(kRows * kChannels);
  std::copy_n(k.data() + 3 * kChannels, kChannels, k.data() + 21 * kChannels);  // equal votes
  const std::vector<float> q = random.normal(kQueries * kChannels);
  cache.append({k.data(), kRows, kChannels}, {v.data(), kRows, kChannels}, pool);
  Eviction eviction(context, cache);
  eviction.add_votes({q.data(), 2, kChannels});
  eviction.add_votes({q.data() + 2 * kChannels, kQueries - 2, kChannels});
  const KvCache kept = eviction.kept_rows();
  ASSERT_EQ(kept.size(), attention.kv_min);
  const std::size_t n_past = kRows - attention.kv_window;
  for (std::size_t head = 0; head < kHeads; ++head) {
    std::vector<double> votes(n_past);
    for (std::size_t t = 0; t < kQueries; ++t) {
      std::vector<double> weights_of(n_past);
      double sum = 0;
      for (std::size_t j = 0; j < n_past; ++j) {
        double product = 0;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          product += double{q[t * kChannels + head * kHeadSize + d]} *
                     double{k[j * kChannels + head * kHeadSize + d]};
        }
        sum += weights_of[j] = std::exp(product / 8);
      }
      for (std::size_t j = 0; j < n_past; ++j) votes[j] += weights_of[j] / sum;
    }
    std::vector<std::size_t> rows(n_past);
    std::iota(rows.begin(), rows.end(), 0U);
    std::ranges::stable_sort(rows,
                             [&](std::size_t a, std::size_t b) { return votes[a] > votes[b]; });
    rows.resize(attention.kv_min - attention.kv_window);
    for (std::size_t row = n_past; row < kRows; ++row) rows.push_back(row);
    std::vector<float> key(kHeadSize), value(kHeadSize);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      kernels::read_row(kept.rows(partition::GlobalChunk(i / 12), head), i % 12, key, value);
      const auto from =
          v.begin() + static_cast<std::ptrdiff_t>(rows[i] * kChannels + head * kHeadSize);
      EXPECT_TRUE(std::equal(value.begin(), value.end(), from)) << "head " << head << " row " << i;
    }
  }
}

}  // namespace
}  // namespace longreach::model::reference
