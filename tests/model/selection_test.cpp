/// The choice of chunks against brute force, with mean keys and with an index of another kind.
#include "model/cache/selection.hpp"

#include "tests/support/attention_context.hpp"
#include "tests/support/compare.hpp"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using test::AttentionContext;
using test::Numbers;

constexpr std::size_t kHeads = 2;

/// Minimum and maximum of a chunk's keys by channel; the score is the largest product that a key
/// between them can have.
class BoundsIndex final : public ChunkIndex {
 public:
  std::unique_ptr<ChunkIndex> fork(std::size_t n_chunks) const override {
    auto result = std::make_unique<BoundsIndex>();
    result->chunks_.assign(chunks_.begin(),
                           chunks_.begin() + static_cast<std::ptrdiff_t>(n_chunks));
    return result;
  }
  void reserve(std::size_t n_chunks) override {
    while (chunks_.size() < n_chunks) chunks_.push_back(std::make_shared<Entry>());
  }
  void close(std::size_t head, partition::LocalChunk chunk, const kernels::ChunkRows& rows,
             std::size_t n_rows) override {
    Entry& entry = *chunks_[number_of(chunk)];
    std::array<float, kHeadSize> key, value;
    for (std::size_t row = 0; row < n_rows; ++row) {
      kernels::read_row(rows, row, key, value);
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        auto& [least, most] = entry[head][d];
        least = row == 0 ? key[d] : std::min(least, key[d]);
        most = row == 0 ? key[d] : std::max(most, key[d]);
      }
    }
  }
  void save(partition::LocalChunk chunk, std::span<std::byte> entry) const override {
    std::ranges::copy(std::as_bytes(std::span(chunks_[number_of(chunk)].get(), 1)), entry.begin());
  }
  void load(partition::LocalChunk chunk, std::span<const std::byte> entry) override {
    std::ranges::copy(
        entry, std::as_writable_bytes(std::span(chunks_[number_of(chunk)].get(), 1)).begin());
  }
  void score(std::size_t head, std::size_t piece, MatView<const float> q,
             MatView<float> scores) const override {
    for (std::size_t r = 0; r < q.rows(); ++r) {
      for (std::size_t i = 0; i < scores.cols(); ++i) {
        scores.row(r)[i] = bound(q.row(r), (*chunks_[piece * kPieceChunks + i])[head]);
      }
    }
  }
  const void* piece_identity(std::size_t piece) const override {
    return chunks_[piece * kPieceChunks].get();
  }
  std::size_t bytes_per_chunk() const override { return sizeof(Entry); }
  std::size_t size_bytes() const override { return chunks_.size() * sizeof(Entry); }

  static float bound(std::span<const float> q,
                     const std::array<std::pair<float, float>, kHeadSize>& bounds) {
    float sum = 0;
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      sum += std::max(q[d] * bounds[d].first, q[d] * bounds[d].second);
    }
    return sum;
  }

 private:
  using Entry = std::array<std::array<std::pair<float, float>, kHeadSize>, kHeads>;
  std::vector<std::shared_ptr<Entry>> chunks_;
};

/// A sequence: all its keys, and the cache they were appended to.
struct Sequence {
  Sequence(test::Random& random, AttentionContext& with, std::size_t n_rows,
           std::unique_ptr<ChunkIndex> index = nullptr)
      : keys(random, n_rows, with.n_columns()),
        cache(kHeads, with.attention.chunk_size, base::KvFormat::kF32, with.exchange,
              std::move(index)) {
    cache.append(keys.all(), keys.all(), with.pool);
  }

  Numbers keys;
  KvCache cache;
};

/// What brute force chooses: the k best of the scores, ascending; the first among equals.
std::vector<GlobalChunk> best(std::span<const float> scores, std::size_t k) {
  std::vector<GlobalChunk> order;
  for (std::size_t chunk = 0; chunk < scores.size(); ++chunk) order.push_back(GlobalChunk(chunk));
  std::ranges::stable_sort(
      order, [&](auto a, auto b) { return scores[number_of(a)] > scores[number_of(b)]; });
  order.resize(std::min(k, order.size()));
  std::ranges::sort(order);
  return order;
}

/// The score of a query with the mean key of a chunk, as defined: sums in order, in f32.
float mean_score(std::span<const float> q, const Sequence& sequence, std::size_t head,
                 std::size_t chunk, std::size_t chunk_size) {
  float score = 0;
  for (std::size_t d = 0; d < kHeadSize; ++d) {
    float sum = 0;
    for (std::size_t row = chunk * chunk_size; row < (chunk + 1) * chunk_size; ++row) {
      sum += sequence.keys.all().row(row)[head * kHeadSize + d];
    }
    score += q[d] * (sum / static_cast<float>(chunk_size));
  }
  return score;
}

/// Begins the workspace's selection for the newest rows of these caches, and chooses.
void choose(AttentionContext& with, std::span<const SegmentCache> segments,
            MatView<const float> q) {
  with.workspace.selection.begin(segments, kHeads, with.attention.chunk_size, [&](std::size_t row) {
    return attention_span_of(with.attention, row);
  });
  select_chunks(with.context, q);
}

TEST(Selection, IsThatOfBruteForceForEverySegment) {
  for (const std::size_t chunk_size : {1, 5, 16}) {
    for (const std::size_t top_k : {1, 2, 4}) {
      test::Random random;
      AttentionContext with(kHeads, AttentionMode::kMoba, chunk_size, top_k);
      // More chunks than a piece of the index has, and once than are scored at a time; few; and so
      // few that nothing is chosen.
      const std::size_t n_many = 70 + (chunk_size == 1 ? 2 * kScoredChunks : 0);
      Sequence many(random, with, n_many * chunk_size + 3), few(random, with, 6 * chunk_size + 2),
          fresh(random, with, 2);
      const std::array segments{SegmentCache{&many.cache, 0, 20}, SegmentCache{&fresh.cache, 20, 2},
                                SegmentCache{&few.cache, 22, 60 % (6 * chunk_size) + 1}};
      const std::size_t n = segments[2].first_row + segments[2].n_rows;
      const Numbers q(random, n, with.n_columns());
      choose(with, segments, q.all());
      const Selection& selection = with.workspace.selection;
      std::size_t n_choices = 0;
      for (const auto& [segment, sequence] :
           {std::pair(segments[0], &many), {segments[1], &fresh}, {segments[2], &few}}) {
        for (std::size_t i = 0; i < segment.n_rows; ++i) {
          const std::size_t query = segment.first_row + i;
          const std::size_t row = sequence->cache.size() - segment.n_rows + i;
          ASSERT_EQ(selection.n_closed(query), row / chunk_size);
          ASSERT_EQ(selection.chooses(query), row / chunk_size > top_k - 1);
          if (!selection.chooses(query)) continue;
          for (std::size_t head = 0; head < kHeads; ++head) {
            const auto q_head = q.all().row(query).subspan(head * kHeadSize, kHeadSize);
            std::vector<float> scores;
            for (std::size_t chunk = 0; chunk < row / chunk_size; ++chunk) {
              scores.push_back(mean_score(q_head, *sequence, head, chunk, chunk_size));
            }
            // Fused multiply-adds may order two chunks otherwise whose scores differ in their last
            // bits; random ones do not.
            const auto chosen = selection.chosen(head, query);
            ASSERT_EQ(std::vector(chosen.begin(), chosen.end()), best(scores, top_k - 1))
                << "chunks of " << chunk_size << ", query " << query << ", head " << head;
            ++n_choices;
          }
        }
      }
      EXPECT_GT(n_choices, 20U);
    }
  }
}

TEST(Selection, OfForksThatSharePiecesIsThatOfEachAlone) {
  test::Random random;
  AttentionContext with(kHeads, AttentionMode::kMoba, 2, 3);
  Sequence source(random, with, 2 * 75 + 1);
  std::vector<KvCache> forks;
  const Numbers more(random, 12, with.n_columns()), q(random, 12, with.n_columns());
  std::vector<SegmentCache> segments;
  for (std::size_t i = 0; i < 4; ++i) {
    forks.push_back(source.cache.fork());
    forks.back().append(more.rows(3 * i, 3), more.rows(3 * i, 3), with.pool);
  }
  for (std::size_t i = 0; i < 4; ++i) segments.push_back({&forks[i], 3 * i, 3});
  EXPECT_EQ(forks[0].index().piece_identity(1), forks[3].index().piece_identity(1));
  EXPECT_NE(forks[0].index().piece_identity(2), forks[3].index().piece_identity(2));
  choose(with, segments, q.all());
  std::vector<std::vector<GlobalChunk>> together;
  for (std::size_t i = 0; i < 12; ++i) {
    const auto chosen = with.workspace.selection.chosen(1, i);
    together.emplace_back(chosen.begin(), chosen.end());
  }
  for (std::size_t i = 0; i < 4; ++i) {
    choose(with, std::array{SegmentCache{&forks[i], 0, 3}}, q.rows(3 * i, 3));
    for (std::size_t row = 0; row < 3; ++row) {
      const auto chosen = with.workspace.selection.chosen(1, row);
      EXPECT_EQ(together[3 * i + row], std::vector(chosen.begin(), chosen.end()));
    }
  }
}

TEST(Selection, TiesGoToTheLowerChunkAndNanNeverWins) {
  test::Random random;
  AttentionContext with(1, AttentionMode::kMoba, 1, 3);
  KvCache cache(1, 1, base::KvFormat::kF32, with.exchange);
  // Scores by chunk: 1, NaN, 2, 2, NaN, 2, then the query's own.
  const float scores[] = {1, std::numeric_limits<float>::quiet_NaN(), 2,
                          2, std::numeric_limits<float>::quiet_NaN(), 2,
                          0};
  for (const float score : scores) {
    std::array<float, kHeadSize> key{score};
    cache.append({key.data(), 1, kHeadSize}, {key.data(), 1, kHeadSize}, with.pool);
  }
  const std::array<float, kHeadSize> q{1};
  with.workspace.selection.begin(
      std::array{SegmentCache{&cache, 0, 1}}, 1, 1,
      [&](std::size_t row) { return attention_span_of(with.attention, row); });
  select_chunks(with.context, {q.data(), 1, kHeadSize});
  const auto chosen = with.workspace.selection.chosen(0, 0);
  EXPECT_EQ(std::vector(chosen.begin(), chosen.end()),
            (std::vector{GlobalChunk{2}, GlobalChunk{3}}));
}

TEST(Selection, GoesByWhateverIndexACacheHas) {
  test::Random random;
  constexpr std::size_t kChunk = 4, kTopK = 4;
  AttentionContext with(kHeads, AttentionMode::kMoba, kChunk, kTopK);
  Sequence sequence(random, with, 40 * kChunk + 1, std::make_unique<BoundsIndex>());
  KvCache fork = sequence.cache.fork();
  const Numbers q(random, 1, with.n_columns());
  std::size_t n_differ = 0;
  for (KvCache* cache : {&sequence.cache, &fork}) {
    choose(with, std::array{SegmentCache{cache, 0, 1}}, q.all());
    for (std::size_t head = 0; head < kHeads; ++head) {
      const auto q_head = q.all().row(0).subspan(head * kHeadSize, kHeadSize);
      std::vector<float> bounds, means;
      for (std::size_t chunk = 0; chunk < 40; ++chunk) {
        std::array<std::pair<float, float>, kHeadSize> of_chunk;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          std::array<float, kChunk> channel;
          for (std::size_t i = 0; i < kChunk; ++i) {
            channel[i] = sequence.keys.all().row(chunk * kChunk + i)[head * kHeadSize + d];
          }
          of_chunk[d] = {std::ranges::min(channel), std::ranges::max(channel)};
        }
        bounds.push_back(BoundsIndex::bound(q_head, of_chunk));
        means.push_back(mean_score(q_head, sequence, head, chunk, kChunk));
      }
      const auto chosen = with.workspace.selection.chosen(head, 0);
      EXPECT_EQ(std::vector(chosen.begin(), chosen.end()), best(bounds, kTopK - 1));
      n_differ += best(bounds, kTopK - 1) != best(means, kTopK - 1) ? 1 : 0;
    }
  }
  EXPECT_GT(n_differ, 0U);  // or the index would not matter
}

}  // namespace
}  // namespace longreach::model
