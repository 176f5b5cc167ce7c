/// How attention divides between rows, against sums over Q and K in double; on one shard and on
/// several, which are threads.
#include "model/cache/distributed_attention.hpp"
#include "tests/support/attention_context.hpp"
#include "tests/support/thread_exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using kernels::kSpanRows;
using test::AttentionContext;
using test::Numbers;

constexpr std::size_t kHeads = 3;
constexpr std::size_t kChunk = 300;  // a block and some rows, which are no whole spans
constexpr std::array<std::size_t, 2> kRows{1500, 40}, kQueries{5, 3};
constexpr std::array<std::size_t, 5> kWeighed{0, 2, 4, 6, 7};

/// The share of a span, by head, query and first row.
struct Span {
  std::size_t n_rows = 0;
  float share = 0;
  bool operator==(const Span&) const = default;
};
using Shares = std::map<std::tuple<std::size_t, std::size_t, std::size_t>, Span>;

class Listener final : public Observer {
 public:
  RowSet asked;
  Shares shares;

  RowSet weighed() const override { return asked; }
  void see_shares(std::size_t head, std::size_t query, std::size_t first_row, std::size_t n_rows,
                  std::span<const float> of_spans) override {
    EXPECT_EQ(of_spans.size(), (n_rows + kSpanRows - 1) / kSpanRows);
    for (std::size_t i = 0; i < of_spans.size(); ++i) {
      const Span span{std::min(kSpanRows, n_rows - i * kSpanRows), of_spans[i]};
      const auto place = std::tuple(head, query, first_row + i * kSpanRows);
      EXPECT_TRUE(shares.emplace(place, span).second) << "seen twice";
    }
  }
};

struct Rows {
  Rows(test::Random& random, std::size_t n_rows, std::size_t n_queries)
      : q(random, n_queries, kHeads * kHeadSize),
        k(random, n_rows, kHeads * kHeadSize),
        v(random, n_rows, kHeads * kHeadSize) {}
  Numbers q, k, v;
};

/// What the shards report together, and what they choose.
struct Outcome {
  Shares shares;
  std::vector<float> y;
  std::map<std::pair<std::size_t, std::size_t>, std::vector<std::size_t>> rows;  ///< That are seen.
};

Outcome attend(const std::vector<Rows>& sequences, AttentionMode mode, ExchangeWay way,
               base::KvFormat kv, std::size_t n_shards, test::CommonChunks* common,
               const RowSet& asked) {
  Outcome outcome;
  std::mutex mutex;
  std::vector<float> queries;
  for (const Rows& each : sequences) {
    queries.insert(queries.end(), each.q.values.begin(), each.q.values.end());
  }
  const MatView<const float> q(queries.data(), queries.size() / (kHeads * kHeadSize),
                               kHeads * kHeadSize);
  outcome.y.resize(queries.size());
  test::run_shards(n_shards, common, [&](Exchange& exchange) {
    AttentionContext with(kHeads, mode, kChunk, 3, &exchange);
    with.attention.exchange = way;
    Listener listener;
    listener.asked = asked;
    with.context.observer = &listener;
    std::vector<KvCache> caches;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      caches.emplace_back(kHeads, kChunk, kv, exchange);
    }
    std::vector<SegmentCache> segments;
    std::size_t first = 0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      caches[i].append(sequences[i].k.all(), sequences[i].v.all(), with.pool);
      segments.push_back({&caches[i], first, kQueries[i]});
      first += kQueries[i];
    }
    Selection& selection = with.workspace.selection;
    selection.begin(segments, kHeads, kChunk,
                    [&](std::size_t row) { return attention_span_of(with.attention, row); });
    select_chunks(with.context, q);
    std::vector<float> y(queries.size());
    attend_chunks(with.context, q, {y.data(), q.rows(), q.cols()});
    {
      const std::lock_guard lock(mutex);
      for (const auto& [place, span] : listener.shares) {
        EXPECT_TRUE(outcome.shares.emplace(place, span).second) << "seen by two shards";
      }
      const auto [begin, end] = with.context.extents.head_columns;
      for (std::size_t t = 0; t < q.rows(); ++t) {
        for (std::size_t c = begin; c < end; ++c) outcome.y[t * q.cols() + c] = y[t * q.cols() + c];
      }
      for (std::size_t head = 0; head < kHeads; ++head) {
        for (std::size_t i = 0; i < q.rows(); ++i) {
          auto& rows = outcome.rows[{head, i}];
          rows.clear();
          selection.for_each_chunk(head, i, {0, selection.n_chunks()},
                                   [&](GlobalChunk chunk, std::size_t from, std::size_t to) {
                                     for (std::size_t r = from; r < to; ++r) {
                                       rows.push_back(number_of(chunk) * kChunk + r);
                                     }
                                   });
        }
      }
    }
    exchange.barrier();
  });
  return outcome;
}

class AttentionShares : public testing::TestWithParam<AttentionMode> {
 protected:
  AttentionShares() {
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      sequences.emplace_back(random, kRows[i], kQueries[i]);
    }
    for (const std::size_t query : kWeighed) asked.set(query);
  }
  test::Random random;
  std::vector<Rows> sequences;
  RowSet asked;
};
INSTANTIATE_TEST_SUITE_P(Modes, AttentionShares,
                         testing::Values(AttentionMode::kMoba, AttentionMode::kFull),
                         [](const auto& param) { return std::string(name_of(param.param)); });

TEST_P(AttentionShares, AreThoseOfASoftmaxOverWhatQueriesSee) {
  const Outcome got =
      attend(sequences, GetParam(), ExchangeWay::kAuto, base::KvFormat::kF32, 1, nullptr, asked);
  Shares missing = got.shares;
  for (const std::size_t query : kWeighed) {
    const std::size_t of = query < kQueries[0] ? 0 : 1;
    const std::size_t index = of == 0 ? query : query - kQueries[0];
    for (std::size_t head = 0; head < kHeads; ++head) {
      const auto columns = [head](MatView<const float> rows, std::size_t row) {
        return rows.row(row).subspan(head * kHeadSize, kHeadSize);
      };
      std::map<std::size_t, double> want;  // by first row of a span
      std::map<std::size_t, std::size_t> n_rows;
      double total = 0, largest = 0;
      for (const std::size_t row : got.rows.at({head, query})) {
        double score = 0, size = 0;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          const double term = static_cast<double>(columns(sequences[of].q.all(), index)[d]) *
                              static_cast<double>(columns(sequences[of].k.all(), row)[d]) / 8;
          score += term;
          size += std::abs(term);
        }
        const std::size_t in_chunk = row % kChunk;
        const std::size_t first = row - in_chunk % kSpanRows;
        want[first] += std::exp(score);
        ++n_rows[first];
        total += std::exp(score);
        largest = std::max(largest, size);
      }
      // As in the tests of attention: scores err by 66 roundings of their size, sums and exp add
      // some.
      const double error = (4 * 66 * largest + 2 * kSpanRows + 300) * 0x1p-24;
      double sum = 0;
      for (const auto& [first, weight] : want) {
        const auto found = missing.find({head, query, first});
        ASSERT_NE(found, missing.end()) << "head " << head << ", query " << query << ", " << first;
        const double share = weight / total;
        EXPECT_NEAR(static_cast<double>(found->second.share), share, error * share);
        EXPECT_EQ(found->second.n_rows, n_rows[first]);
        sum += static_cast<double>(found->second.share);
        missing.erase(found);
      }
      EXPECT_NEAR(sum, 1, error);
    }
  }
  EXPECT_TRUE(missing.empty()) << "more is reported than was asked for, or is seen";
}

TEST_P(AttentionShares, AreTheSameOnAnyShardsAndChangeNoOutput) {
  for (const auto kv : {base::KvFormat::kF32, base::KvFormat::kInt8}) {
    const auto on_shards = [&](std::size_t n_shards, ExchangeWay way, bool has_common,
                               const RowSet& rows) {
      test::CommonChunks common;
      return attend(sequences, GetParam(), way, kv, n_shards, has_common ? &common : nullptr, rows);
    };
    const Outcome want = on_shards(1, ExchangeWay::kAuto, false, asked);
    EXPECT_FALSE(want.shares.empty());
    const Outcome without = on_shards(1, ExchangeWay::kAuto, false, {});
    EXPECT_TRUE(without.shares.empty());
    EXPECT_EQ(without.y, want.y);
    for (const std::size_t n_shards : {2, 3, 5}) {
      for (const ExchangeWay way : {ExchangeWay::kShip, ExchangeWay::kGather}) {
        const Outcome got = on_shards(n_shards, way, false, asked);
        EXPECT_EQ(got.shares, want.shares) << n_shards << " shards, " << name_of(way);
        EXPECT_EQ(got.y, want.y);
      }
      EXPECT_EQ(on_shards(n_shards, ExchangeWay::kAuto, true, asked).shares, want.shares);
    }
  }
}

}  // namespace
}  // namespace longreach::model
