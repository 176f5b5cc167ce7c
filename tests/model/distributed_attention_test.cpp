/// Attention over chunks against a softmax over the same rows in double, on one shard and on
/// several, which are threads.
#include "model/cache/distributed_attention.hpp"

#include "tests/support/attention_context.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/thread_exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using test::AttentionContext;
using test::Numbers;

constexpr std::size_t kHeads = 2, kChunk = 10;

/// A sequence of random keys and values in a cache.
struct Sequence {
  Sequence(test::Random& random, AttentionContext& with, std::size_t n_rows)
      : keys(random, n_rows, with.n_columns()),
        values(random, n_rows, with.n_columns()),
        cache(kHeads, kChunk, base::KvFormat::kF32, with.exchange) {
    cache.append(keys.all(), values.all(), with.pool);
  }

  Numbers keys, values;
  KvCache cache;
};

/// The output of the queries, [T, H * 64], of which this shard's heads are written.
std::vector<float> attend(AttentionContext& with, std::span<const SegmentCache> segments,
                          MatView<const float> q) {
  with.workspace.selection.begin(
      segments, with.config.n_head, with.attention.chunk_size,
      [&](std::size_t row) { return attention_span_of(with.attention, row); });
  select_chunks(with.context, q);
  std::vector<float> y(q.rows() * q.cols());
  attend_chunks(with.context, q, {y.data(), q.rows(), q.cols()});
  return y;
}

/// A head's columns of a row.
std::span<const float> of_head(MatView<const float> rows, std::size_t row, std::size_t head) {
  return rows.row(row).subspan(head * kHeadSize, kHeadSize);
}

/// Whether y [64] is the softmax over these rows of what a head's query q [64] scores with keys,
/// times values.
testing::AssertionResult is_softmax(std::span<const float> y, std::span<const float> q,
                                    MatView<const float> keys, MatView<const float> values,
                                    std::size_t head, std::span<const std::size_t> rows) {
  std::vector<double> weights;
  double largest = 0, total = 0;
  for (const std::size_t row : rows) {
    const auto key = of_head(keys, row, head);
    double score = 0, size = 0;
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      const double term = static_cast<double>(q[d]) * static_cast<double>(key[d]) / 8;
      score += term;
      size += std::abs(term);
    }
    largest = std::max(largest, size);
    weights.push_back(std::exp(score));
    total += weights.back();
  }
  std::vector<double> want(kHeadSize), size(kHeadSize);
  for (std::size_t j = 0; j < rows.size(); ++j) {
    const auto value = of_head(values, rows[j], head);
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      const double term = weights[j] / total * static_cast<double>(value[d]);
      want[d] += term;
      size[d] += std::abs(term);
    }
  }
  // Weights err by their scores' errors (sums of 64 products) and those of exponentials; sums over
  // rows, and merging blocks, add a rounding for each row.
  constexpr double kUnit = 0x1p-24;
  const double error = (2 * 66 * largest + 2 * static_cast<double>(rows.size()) + 32) * kUnit;
  return test::near(y, want, [&](std::size_t d) { return error * size[d]; });
}

TEST(DistributedAttention, IsTheSoftmaxOverWhatQueriesSee) {
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kFull}) {
    test::Random random;
    AttentionContext with(kHeads, mode, kChunk, 3);
    Sequence longer(random, with, 137), shorter(random, with, 14);
    const std::array segments{SegmentCache{&shorter.cache, 0, 4},
                              SegmentCache{&longer.cache, 4, 25}};
    const Numbers q(random, 29, with.n_columns());
    const std::vector<float> got = attend(with, segments, q.all());
    const MatView<const float> y(got.data(), 29, with.n_columns());
    for (const auto& [segment, sequence] :
         {std::pair(segments[0], &shorter), {segments[1], &longer}}) {
      for (std::size_t i = 0; i < segment.n_rows; ++i) {
        const std::size_t query = segment.first_row + i;
        for (std::size_t head = 0; head < kHeads; ++head) {
          std::vector<std::size_t> rows;
          with.workspace.selection.for_each_chunk(
              head, query, {0, 100}, [&](GlobalChunk chunk, std::size_t first, std::size_t last) {
                for (std::size_t r = first; r < last; ++r) {
                  rows.push_back(number_of(chunk) * kChunk + r);
                }
              });
          // The own row is seen, and none after it.
          ASSERT_EQ(rows.back(), sequence->cache.size() - segment.n_rows + i);
          EXPECT_TRUE(is_softmax(of_head(y, query, head), of_head(q.all(), query, head),
                                 sequence->keys.all(), sequence->values.all(), head, rows))
              << "query " << query << ", head " << head;
        }
      }
    }
  }
}

TEST(DistributedAttention, ForksThatShareChunksHaveTheBitsOfEachAlone) {
  test::Random random;
  AttentionContext with(kHeads, AttentionMode::kMoba, kChunk, 3);
  Sequence source(random, with, 75);
  std::vector<KvCache> forks;
  std::vector<SegmentCache> segments;
  const Numbers more(random, 20, with.n_columns()), q(random, 20, with.n_columns());
  for (std::size_t i = 0; i < 5; ++i) {
    forks.push_back(source.cache.fork());
    forks.back().append(more.rows(4 * i, 4), more.rows(4 * i, 4), with.pool);
  }
  for (std::size_t i = 0; i < 5; ++i) segments.push_back({&forks[i], 4 * i, 4});
  EXPECT_EQ(forks[0].chunk_id(GlobalChunk{6}), forks[4].chunk_id(GlobalChunk{6}));
  EXPECT_NE(forks[0].chunk_id(GlobalChunk{7}), forks[4].chunk_id(GlobalChunk{7}));
  const std::vector<float> together = attend(with, segments, q.all());
  const std::size_t n = 4 * with.n_columns();
  for (std::size_t i = 0; i < 5; ++i) {
    const auto alone = attend(with, std::array{SegmentCache{&forks[i], 0, 4}}, q.rows(4 * i, 4));
    EXPECT_TRUE(test::same_bits(std::span(together).subspan(i * n, n), alone)) << i;
  }
}

/// Heads that no number of shards divides, but 1.
constexpr std::size_t kManyHeads = 5;

/// Rows of q, k and v of a sequence, [n, H * 64], of which the newest are those of a step.
struct SequenceRows {
  SequenceRows(test::Random& random, std::size_t n_rows, std::size_t n_in_step)
      : q(random, n_in_step, kColumns), k(random, n_rows, kColumns), v(random, n_rows, kColumns) {}

  std::size_t n_rows() const { return k.all().rows(); }
  std::size_t n_in_step() const { return q.all().rows(); }
  /// The row of the cache of the step's i-th query.
  std::size_t row_of(std::size_t i) const { return n_rows() - n_in_step() + i; }

  static constexpr std::size_t kColumns = kManyHeads * kHeadSize;
  Numbers q, k, v;
};

/// The queries of a step, sequence after sequence.
Numbers queries_of(std::span<const SequenceRows> sequences) {
  Numbers q = sequences[0].q;
  for (const SequenceRows& sequence : sequences.subspan(1)) {
    q.values.insert(q.values.end(), sequence.q.values.begin(), sequence.q.values.end());
  }
  return q;
}

/// How shards are to compute attention.
struct Trial {
  AttentionConfig attention;
  std::size_t n_shards;
  bool has_common_chunks;

  std::string name() const {
    return std::to_string(n_shards) + " shards, " + std::string(name_of(attention.exchange)) +
           (has_common_chunks ? ", common chunks" : "");
  }
};

/// All ways on several numbers of shards, of which the last leaves some without heads or chunks.
std::vector<Trial> trials_of(AttentionConfig attention) {
  std::vector<Trial> trials;
  for (const std::size_t n_shards : {1, 2, 3, 4, 7}) {
    for (const ExchangeWay way : {ExchangeWay::kAuto, ExchangeWay::kShip, ExchangeWay::kGather}) {
      attention.exchange = way;
      trials.push_back({attention, n_shards, false});
    }
    trials.push_back({attention, n_shards, true});
  }
  return trials;
}

/// The chunks chosen by head and query, of those that choose.
using Choices = std::map<std::pair<std::size_t, std::size_t>, std::vector<std::size_t>>;

/// Notes what heads' queries choose; the same on all shards.
class ChoiceListener final : public Observer {
 public:
  Choices choices;

  void see_choice(std::size_t head, std::size_t query,
                  std::span<const GlobalChunk> chunks) override {
    auto& numbers = choices[{head, query}];
    for (const GlobalChunk chunk : chunks) numbers.push_back(number_of(chunk));
  }
};

/// The output of the step's queries, put together from the shards' heads. before_append(shard) is
/// called on each. Every shard's choices must be `want_choices`, unless that is null.
std::vector<float> attend_on_shards(
    const Trial& trial, std::span<const SequenceRows> sequences,
    const Choices* want_choices = nullptr,
    const std::function<void(std::size_t shard)>& before_append = [](std::size_t) {}) {
  const Numbers q = queries_of(sequences);
  std::vector<float> y(q.values.size());
  const MatView<float> all(y.data(), q.all().rows(), q.all().cols());
  test::CommonChunks common;
  test::run_shards(
      trial.n_shards, trial.has_common_chunks ? &common : nullptr, [&](Exchange& exchange) {
        AttentionContext with(kManyHeads, trial.attention.mode, trial.attention.chunk_size,
                              trial.attention.top_k, &exchange);
        with.attention.exchange = trial.attention.exchange;
        ChoiceListener listener;
        with.context.observer = &listener;
        std::vector<KvCache> caches;
        std::vector<SegmentCache> segments;
        std::size_t n_queries = 0;
        for (std::size_t i = 0; i < sequences.size(); ++i) {
          caches.emplace_back(kManyHeads, with.attention.chunk_size, base::KvFormat::kF32,
                              exchange);
        }
        before_append(exchange.shard().index);
        for (std::size_t i = 0; i < sequences.size(); ++i) {
          caches[i].append(sequences[i].k.all(), sequences[i].v.all(), with.pool);
          segments.push_back({&caches[i], n_queries, sequences[i].n_in_step()});
          n_queries += sequences[i].n_in_step();
        }
        const std::vector<float> part = attend(with, segments, q.all());
        const auto [first, last] = with.context.extents.head_columns;
        for (std::size_t t = 0; t < n_queries; ++t) {
          std::copy_n(part.begin() + static_cast<std::ptrdiff_t>(t * q.all().cols() + first),
                      last - first, all.row(t).begin() + static_cast<std::ptrdiff_t>(first));
        }
        if (want_choices != nullptr) {
          EXPECT_EQ(listener.choices, *want_choices) << "shard " << exchange.shard().index;
        }
        // Common chunks are dropped when nobody reads them any more.
        exchange.barrier();
      });
  return y;
}

/// What brute force chooses: the k best of the scores, ascending; the first among equals, and no
/// NaN.
std::vector<std::size_t> best(const std::vector<double>& scores, std::size_t k) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!std::isnan(scores[i])) order.push_back(i);
  }
  std::ranges::stable_sort(order, [&](auto a, auto b) { return scores[a] > scores[b]; });
  order.resize(std::min(k, order.size()));
  std::ranges::sort(order);
  return order;
}

/// What brute force says about a step: the chunks that queries which choose are to choose, and the
/// rows that each sees.
struct Expected {
  Choices chosen;
  std::vector<std::vector<std::size_t>> rows;  ///< [query][head], one after another.
  std::size_t n_tied = 0;  ///< Choices that leave out a chunk as good as one that they take.
};

/// Requires: mode moba, and numbers of which f32 makes exact scores.
Expected brute_force(const AttentionConfig& attention, std::span<const SequenceRows> sequences) {
  const std::size_t chunk_size = attention.chunk_size, n_chosen = attention.top_k - 1;
  Expected result;
  std::size_t query = 0;
  for (const SequenceRows& sequence : sequences) {
    for (std::size_t i = 0; i < sequence.n_in_step(); ++i, ++query) {
      const std::size_t row = sequence.row_of(i), n_closed = row / chunk_size;
      for (std::size_t head = 0; head < kManyHeads; ++head) {
        const auto q = of_head(sequence.q.all(), i, head);
        std::vector<double> scores(n_closed);
        for (std::size_t r = 0; r < n_closed * chunk_size; ++r) {
          const auto key = of_head(sequence.k.all(), r, head);
          for (std::size_t d = 0; d < kHeadSize; ++d) {
            scores[r / chunk_size] += static_cast<double>(q[d]) * static_cast<double>(key[d]);
          }
        }
        std::vector<std::size_t> chunks(n_closed);
        std::iota(chunks.begin(), chunks.end(), 0U);
        if (n_closed > n_chosen) {
          chunks = best(scores, n_chosen);
          result.chosen[{head, query}] = chunks;
          const auto is_tied = [&](double score) {
            const auto has_it = [&](std::size_t chunk) { return scores[chunk] == score; };
            return std::ranges::count(scores, score) > std::ranges::count_if(chunks, has_it) &&
                   std::ranges::any_of(chunks, has_it);
          };
          result.n_tied += std::ranges::any_of(scores, is_tied) ? 1 : 0;
        }
        auto& rows = result.rows.emplace_back();
        for (const std::size_t chunk : chunks) {
          for (std::size_t r = 0; r < chunk_size; ++r) rows.push_back(chunk * chunk_size + r);
        }
        for (std::size_t r = n_closed * chunk_size; r <= row; ++r) rows.push_back(r);
      }
    }
  }
  return result;
}

/// Whether all ways on all numbers of shards have the same bits, and these are the softmax over
/// rows[query * heads + head]. Where `want_choices` is not null, queries choose these chunks.
void expect_softmax_on_shards(const AttentionConfig& attention,
                              std::span<const SequenceRows> sequences,
                              std::span<const std::vector<std::size_t>> rows,
                              const Choices* want_choices) {
  std::vector<float> one_shard;
  for (const Trial& trial : trials_of(attention)) {
    SCOPED_TRACE(trial.name());
    const std::vector<float> got = attend_on_shards(trial, sequences, want_choices);
    if (one_shard.empty()) one_shard = got;
    EXPECT_TRUE(test::same_bits(got, one_shard));
  }
  const MatView<const float> y(one_shard.data(), rows.size() / kManyHeads, SequenceRows::kColumns);
  std::size_t query = 0;
  for (const SequenceRows& sequence : sequences) {
    for (std::size_t i = 0; i < sequence.n_in_step(); ++i, ++query) {
      for (std::size_t head = 0; head < kManyHeads; ++head) {
        EXPECT_TRUE(is_softmax(of_head(y, query, head), of_head(sequence.q.all(), i, head),
                               sequence.k.all(), sequence.v.all(), head,
                               rows[query * kManyHeads + head]))
            << "query " << query << ", head " << head;
      }
    }
  }
}

TEST(DistributedAttention, OnSeveralShardsTiesGoToLowerChunksAndNanNeverWins) {
  AttentionConfig attention;
  attention.chunk_size = 8;
  attention.top_k = 4;
  test::Random random;
  // Many chunks; fewer than shards; fewer than may be chosen; none that is closed, or none but the
  // own.
  std::vector<SequenceRows> sequences;
  for (const auto& [n_rows, n_in_step] : std::initializer_list<std::pair<std::size_t, std::size_t>>{
           {187, 13}, {43, 3}, {20, 5}, {5, 4}, {8, 1}}) {
    sequences.emplace_back(random, n_rows, n_in_step);
  }
  // Small whole numbers and chunks of 8, so that scores are exact, and many of them equal.
  for (SequenceRows& sequence : sequences) {
    for (float& number : sequence.k.values) number = static_cast<float>(random.whole(0, 2)) - 1;
    for (std::size_t i = 0; i < sequence.q.values.size(); ++i) {
      sequence.q.values[i] = i % kHeadSize < 2 ? static_cast<float>(random.whole(0, 2)) - 1 : 0;
    }
  }
  // Head 1 has NaN in some chunks of the long sequence, head 3 in all but two, which are fewer than
  // a query may choose.
  const auto spoil = [&](std::size_t head, std::size_t chunk) {
    const std::size_t row = chunk * attention.chunk_size + chunk % attention.chunk_size;
    sequences[0].k.values[row * SequenceRows::kColumns + head * kHeadSize + 1] =
        std::numeric_limits<float>::quiet_NaN();
  };
  for (const std::size_t chunk : {0, 4, 5, 11}) spoil(1, chunk);
  for (std::size_t chunk = 0; chunk < 21; ++chunk) {
    if (chunk != 6 && chunk != 17) spoil(3, chunk);
  }
  // Without the long sequence some shards have no chunk to propose, and none as many as are chosen.
  std::size_t n_tied = 0;
  for (const std::size_t first : {0, 1}) {
    const auto step = std::span<const SequenceRows>(sequences).subspan(first);
    const Expected want = brute_force(attention, step);
    expect_softmax_on_shards(attention, step, want.rows, &want.chosen);
    n_tied += want.n_tied;
  }
  EXPECT_GT(n_tied, 20U);
}

TEST(DistributedAttention, OnSeveralShardsEveryRowUpToTheOwnIsSeenInModeFull) {
  test::Random random;
  AttentionConfig attention;
  attention.mode = AttentionMode::kFull;
  attention.chunk_size = 7;
  // So many chunks and queries that partials travel in several rounds.
  std::vector<SequenceRows> sequences;
  sequences.emplace_back(random, 75, 9);
  sequences.emplace_back(random, 900, 60);
  std::vector<std::vector<std::size_t>> rows;
  for (const SequenceRows& sequence : sequences) {
    for (std::size_t i = 0; i < sequence.n_in_step(); ++i) {
      std::vector<std::size_t> all(sequence.row_of(i) + 1);
      std::iota(all.begin(), all.end(), 0U);
      rows.insert(rows.end(), kManyHeads, all);
    }
  }
  expect_softmax_on_shards(attention, sequences, rows, nullptr);
}

TEST(DistributedAttention, ChunksThatTravelInSeveralRoundsChangeNoBit) {
  test::Random random;
  AttentionConfig attention;
  attention.mode = AttentionMode::kFull;
  attention.chunk_size = 512;
  attention.exchange = ExchangeWay::kGather;
  // Keys and values of 35 MB, where a round has 33 at most.
  std::vector<SequenceRows> sequences;
  sequences.emplace_back(random, 13700, 1);
  EXPECT_TRUE(test::same_bits(attend_on_shards({attention, 2, false}, sequences),
                              attend_on_shards({attention, 1, false}, sequences)));
}

TEST(DistributedAttention, NoShardReadsCommonChunksBeforeTheyAreWritten) {
  test::Random random;
  AttentionConfig attention;
  attention.mode = AttentionMode::kFull;  // nothing is exchanged before chunks are read
  attention.chunk_size = 7;
  std::vector<SequenceRows> sequences;
  sequences.emplace_back(random, 75, 3);
  const auto late = [](std::size_t shard) {
    if (shard == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  };
  EXPECT_TRUE(test::same_bits(attend_on_shards({attention, 3, true}, sequences, nullptr, late),
                              attend_on_shards({attention, 1, false}, sequences)));
}

}  // namespace
}  // namespace longreach::model
