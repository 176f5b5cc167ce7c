/// The choice of chunks against brute force, by mean keys and by an index that only this test has.
/// Keys and queries are such whole numbers that all scores are exact, and many are equal.
#include "model/cache/selection.hpp"

#include "model/context.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

constexpr std::size_t kHeads = 2, kChannels = kHeads * kHeadSize;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The least and the greatest key of a chunk per channel; a score is the most that the product of
/// the query with a key between them can be.
class MinMaxIndex final : public ChunkIndex {
 public:
  std::unique_ptr<ChunkIndex> fork(std::size_t n_chunks) const override {
    auto result = std::make_unique<MinMaxIndex>();
    result->pieces_ = pieces_;
    for (std::size_t i = n_chunks / kPieceChunks; i < pieces_.size(); ++i) {
      result->pieces_[i] = std::make_shared<Piece>(*pieces_[i]);
    }
    return result;
  }
  void reserve(std::size_t n_chunks) override {
    while (pieces_.size() * kPieceChunks < n_chunks) pieces_.push_back(std::make_shared<Piece>());
  }
  void close(std::size_t head, partition::LocalChunk chunk, const kernels::ChunkRows& rows,
             std::size_t n_rows) override {
    const auto number = static_cast<std::size_t>(chunk);
    Entry& entry = (*pieces_[number / kPieceChunks])[head][number % kPieceChunks];
    std::vector<float> key(kHeadSize), value(kHeadSize);
    for (std::size_t r = 0; r < n_rows; ++r) {
      kernels::read_row(rows, r, key, value);
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        entry[0][d] = r == 0 ? key[d] : std::min(entry[0][d], key[d]);
        entry[1][d] = r == 0 ? key[d] : std::max(entry[1][d], key[d]);
      }
    }
  }
  void score(std::size_t head, std::size_t piece, MatView<const float> q,
             MatView<float> scores) const override {
    for (std::size_t r = 0; r < q.rows(); ++r) {
      for (std::size_t i = 0; i < scores.cols(); ++i) {
        const Entry& entry = (*pieces_[piece])[head][i];
        float sum = 0;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          sum += std::max(q.row(r)[d] * entry[0][d], q.row(r)[d] * entry[1][d]);
        }
        scores.row(r)[i] = sum;
      }
    }
  }
  const void* piece_identity(std::size_t piece) const override { return pieces_[piece].get(); }
  std::size_t bytes_per_chunk() const override { return kHeads * sizeof(Entry); }
  std::size_t size_bytes() const override {
    return pieces_.size() * kPieceChunks * bytes_per_chunk();
  }

 private:
  using Entry = std::array<std::array<float, kHeadSize>, 2>;
  using Piece = std::array<std::array<Entry, kPieceChunks>, kHeads>;
  std::vector<std::shared_ptr<Piece>> pieces_;
};

/// A cache and the keys that were appended to it.
struct Sequence {
  KvCache cache;
  std::vector<float> keys;

  Sequence fork() const { return {cache.fork(), keys}; }
};

struct Case {
  std::size_t chunk_size, n_chosen;
  bool by_min_max;
};

class SelectionTest : public testing::TestWithParam<Case> {
 protected:
  /// Whole numbers, multiples of `unit`, in few channels.
  std::vector<float> numbers(std::size_t n_rows, std::size_t unit) {
    std::vector<float> result(n_rows * kChannels);
    for (std::size_t i = 0; i < result.size(); ++i) {
      if (i % kHeadSize % 16 == 1) {
        result[i] = (static_cast<float>(random.whole(0, 4)) - 2) * static_cast<float>(unit);
      }
    }
    return result;
  }
  Sequence empty() {
    return {KvCache(kHeads, chunk, base::KvFormat::kF32, alone,
                    GetParam().by_min_max ? std::make_unique<MinMaxIndex>() : nullptr),
            {}};
  }
  /// Means of these keys are whole numbers. NaN stands in head 0 of row `nan_row`.
  void extend(Sequence& to, std::size_t n, std::size_t nan_row = ~std::size_t{0}) {
    std::vector<float> k = numbers(n, chunk);
    if (nan_row < n) k[nan_row * kChannels] = kNan;
    to.cache.append({k.data(), n, kChannels}, {k.data(), n, kChannels}, pool);
    to.keys.insert(to.keys.end(), k.begin(), k.end());
  }
  double score(const Sequence& of, std::size_t head, std::size_t number, const float* q) const {
    double sum = 0;
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      double total = 0, least = HUGE_VAL, most = -HUGE_VAL;
      for (std::size_t r = number * chunk; r < (number + 1) * chunk; ++r) {
        const double key = of.keys[r * kChannels + head * kHeadSize + d];
        total += key;
        least = std::min(least, key);
        most = std::max(most, key);
      }
      sum += GetParam().by_min_max ? std::max(double{q[d]} * least, double{q[d]} * most)
                                   : double{q[d]} * total / static_cast<double>(chunk);
    }
    return sum;
  }
  std::vector<std::uint32_t> best(const Sequence& of, std::size_t head, std::size_t n_closed,
                                  const float* q) const {
    std::map<std::pair<double, std::uint32_t>, int> order;
    for (std::uint32_t i = 0; i < n_closed; ++i) {
      const double s = score(of, head, i, q);
      if (!std::isnan(s)) order[{-s, i}];
    }
    std::vector<std::uint32_t> result;
    for (const auto& entry : order) {
      if (result.size() < GetParam().n_chosen) result.push_back(entry.first.second);
    }
    std::ranges::sort(result);
    return result;
  }

  test::Random random;
  const std::size_t chunk = GetParam().chunk_size;
  NoExchange alone;
  kernels::ThreadPool pool{2};
};

TEST_P(SelectionTest, IsThatOfBruteForceForEverySegment) {
  Sequence base = empty();
  // NaN keys are for means alone: the least of numbers is not defined with them.
  extend(base, 40 * chunk + chunk / 2, GetParam().by_min_max ? ~std::size_t{0} : 5 * chunk);
  std::vector<Sequence> all;
  all.push_back(base.fork());
  all.push_back(base.fork());
  all.push_back(empty());
  all.push_back(base.fork());
  const std::array<std::size_t, 4> n_rows{3, 2 * chunk + 1, 1, 70};
  std::vector<SegmentCache> segments;
  std::size_t n_all = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    extend(all[i], n_rows[i]);
    segments.push_back({&all[i].cache, n_all, n_rows[i]});
    n_all += n_rows[i];
  }
  ModelConfig config;
  config.n_head = kHeads;
  config.n_embd = kChannels;
  const AttentionConfig attention;
  Workspace workspace(config, pool.size());
  const Weights weights;
  Observer nobody;
  Context context{config, attention, weights, workspace, pool, alone, {}, &nobody};
  workspace.selection.begin(segments, kHeads, chunk, [this](std::size_t row) {
    return AttentionSpan{row - row % chunk, GetParam().n_chosen};
  });
  const std::vector<float> q = numbers(n_all, 1);
  select_chunks(context, {q.data(), n_all, kChannels});
  for (std::size_t s = 0; s < all.size(); ++s) {
    for (std::size_t i = segments[s].first_row; i < segments[s].first_row + n_rows[s]; ++i) {
      ASSERT_EQ(workspace.selection.chooses(i), s != 2);
      for (std::size_t head = 0; head < kHeads && s != 2; ++head) {
        const auto got = workspace.selection.chosen(head, i);
        EXPECT_EQ(std::vector(got.begin(), got.end()),
                  best(all[s], head, workspace.selection.n_closed(i),
                       q.data() + i * kChannels + head * kHeadSize))
            << "segment " << s << " query " << i << " head " << head;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SelectionTest,
                         testing::Values(Case{1, 1, false}, Case{12, 1, false}, Case{12, 3, false},
                                         Case{16, 2, false}, Case{1, 2, true}, Case{12, 1, true},
                                         Case{16, 3, true}));

}  // namespace
}  // namespace longreach::model
