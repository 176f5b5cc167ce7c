/// Attention over chosen chunks against a softmax over the same rows in double.
#include "model/cache/distributed_attention.hpp"

#include "tests/support/attention_context.hpp"
#include "tests/support/compare.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

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

/// The output of the queries, [T, H * 64].
std::vector<float> attend(AttentionContext& with, std::span<const SegmentCache> segments,
                          MatView<const float> q) {
  with.workspace.selection.begin(segments, kHeads, kChunk, [&](std::size_t row) {
    return attention_span_of(with.attention, row);
  });
  select_chunks(with.context, q);
  with.context.extents.heads = {0, kHeads};
  std::vector<float> y(q.rows() * q.cols());
  attend_chunks(with.context, q, {y.data(), q.rows(), q.cols()});
  return y;
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
    for (const auto& [segment, sequence] :
         {std::pair(segments[0], &shorter), {segments[1], &longer}}) {
      for (std::size_t i = 0; i < segment.n_rows; ++i) {
        const std::size_t query = segment.first_row + i;
        for (std::size_t head = 0; head < kHeads; ++head) {
          const auto of_head = [head](MatView<const float> rows, std::size_t row) {
            return rows.row(row).subspan(head * kHeadSize, kHeadSize);
          };
          const auto q_head = of_head(q.all(), query);
          std::vector<std::size_t> rows;
          with.workspace.selection.for_each_chunk(
              head, query, {0, 100}, [&](std::size_t chunk, std::size_t first, std::size_t last) {
                for (std::size_t r = first; r < last; ++r) rows.push_back(chunk * kChunk + r);
              });
          // The own row is seen, and none after it.
          ASSERT_EQ(rows.back(), sequence->cache.size() - segment.n_rows + i);
          std::vector<double> weights;
          double largest = 0, total = 0;
          for (const std::size_t row : rows) {
            const auto key = of_head(sequence->keys.all(), row);
            double score = 0, size = 0;
            for (std::size_t d = 0; d < kHeadSize; ++d) {
              const double term = static_cast<double>(q_head[d]) * static_cast<double>(key[d]) / 8;
              score += term;
              size += std::abs(term);
            }
            largest = std::max(largest, size);
            weights.push_back(std::exp(score));
            total += weights.back();
          }
          std::vector<double> want(kHeadSize), size(kHeadSize);
          for (std::size_t j = 0; j < rows.size(); ++j) {
            const auto value = of_head(sequence->values.all(), rows[j]);
            for (std::size_t d = 0; d < kHeadSize; ++d) {
              const double term = weights[j] / total * static_cast<double>(value[d]);
              want[d] += term;
              size[d] += std::abs(term);
            }
          }
          // Weights err by their scores' errors (sums of 64 products) and those of exponentials;
          // sums over rows, and merging blocks, add a rounding for each row.
          constexpr double kUnit = 0x1p-24;
          const double error =
              (2 * 66 * largest + 2 * static_cast<double>(rows.size()) + 32) * kUnit;
          EXPECT_TRUE(test::near(
              std::span(got).subspan(query * with.n_columns() + head * kHeadSize, kHeadSize), want,
              [&](std::size_t d) { return error * size[d]; }))
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
  EXPECT_EQ(forks[0].chunk_id(6), forks[4].chunk_id(6));
  EXPECT_NE(forks[0].chunk_id(7), forks[4].chunk_id(7));
  const std::vector<float> together = attend(with, segments, q.all());
  const std::size_t n = 4 * with.n_columns();
  for (std::size_t i = 0; i < 5; ++i) {
    const auto alone = attend(with, std::array{SegmentCache{&forks[i], 0, 4}}, q.rows(4 * i, 4));
    EXPECT_TRUE(test::same_bits(std::span(together).subspan(i * n, n), alone)) << i;
  }
}

}  // namespace
}  // namespace longreach::model
