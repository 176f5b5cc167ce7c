/// Evidence: what counts, that it is the same on any grid and under any load, and changes no bit.
#include "dist/trace/evidence.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/thread_grid.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>

namespace longreach::dist {
namespace {

using model::AttentionMode;
using model::ExchangeWay;
using test::Golden;

TEST(EvidenceCollector, TakesWhatHeadsLookAtBeforeTheirNeighbourhood) {
  model::RowSet rows;
  rows.set(1);
  const model::Step step({{0, 2, 199}}, rows, rows);  // row 1 is at position 200
  EvidenceCollector collector;
  collector.begin_step(step);
  EXPECT_EQ(collector.weighed(), rows);
  // Spans end at 64, 96 and so on up to 192, then at 201.
  const std::array shares{0.5F, 1.0F / 64, 0.01F, 0.25F, 0.125F};
  collector.see_shares(0, 1, 32, 160, shares);
  collector.see_shares(0, 1, 192, 9, std::array{0.75F});
  collector.see_shares(1, 1, 32, 32, std::array{0.25F});
  collector.see_shares(1, 1, 0, 20, std::array{std::numeric_limits<float>::quiet_NaN()});
  const auto units = [](double share) { return static_cast<std::uint64_t>(share / kEvidenceUnit); };
  // The span of 160 .. 191 reaches into the 32 tokens up to position 200.
  const std::vector<RowEvidence> want{
      {1, 32, 32, units(0.75)}, {1, 32, 64, units(1.0 / 64)}, {1, 32, 128, units(0.25)}};
  EXPECT_EQ(collector.take(), want);
  EXPECT_TRUE(collector.take().empty());
}

/// What came for positions, with the logits.
struct Found {
  std::map<std::size_t, std::vector<AttendedSpan>> evidence;
  std::vector<float> logits;
};

bool same(const AttendedSpan& a, const AttendedSpan& b) {
  return a.first == b.first && a.n_tokens == b.n_tokens && a.weight == b.weight;
}

void expect_same(const Found& found, const Found& want, const std::string& what) {
  EXPECT_TRUE(test::same_bits(found.logits, want.logits)) << what;
  ASSERT_EQ(found.evidence.size(), want.evidence.size()) << what;
  for (const auto& [position, spans] : want.evidence) {
    EXPECT_TRUE(std::ranges::equal(found.evidence.at(position), spans, same))
        << what << ", position " << position;
  }
}

enum class Ask { kEvidence, kLogits };

/// Reads the golden tokens but the last ten, then these one by one, all of them beside `n_others`
/// sessions that want evidence of many rows, or nothing. Evidence is asked of the last eleven.
Found read(const Golden& golden, Engine& engine, std::size_t n_others, Ask ask) {
  const std::size_t n = golden.tokens.size(), n_prompt = n - 10;
  Found found;
  Session session = engine.new_session();
  const auto sink =
      std::make_shared<const LogitsSink>([&found](std::size_t, std::span<const float> row) {
        found.logits.insert(found.logits.end(), row.begin(), row.end());
      });
  const auto evidence = std::make_shared<const EvidenceSink>(
      [&found](std::size_t position, std::span<const AttendedSpan> spans) {
        found.evidence[position].assign(spans.begin(), spans.end());
      });
  std::vector<Session> others;
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), std::size_t{0});
  const auto nothing = std::make_shared<const LogitsSink>([](auto, auto) {});
  const auto no_evidence = std::make_shared<const EvidenceSink>([](auto, auto) {});
  for (std::size_t i = 0; i < n_others; ++i) others.push_back(engine.new_session());
  for (std::size_t done = 0; done < n;) {
    const std::size_t n_now = done < n_prompt ? std::min<std::size_t>(n_prompt - done, 100) : 1;
    std::vector<SegmentRequest> segments;
    for (std::size_t i = 0; i < n_others; ++i) {
      segments.push_back({&others[i], std::span(golden.tokens).subspan(done, n_now), all, nothing,
                          i % 2 == 0 ? no_evidence : nullptr});
    }
    const std::span<const std::size_t> wanted = std::span(all).subspan(n_prompt - 1);
    segments.insert(segments.begin() + static_cast<std::ptrdiff_t>(n_others / 2),
                    {&session, std::span(golden.tokens).subspan(done, n_now), wanted, sink,
                     ask == Ask::kEvidence ? evidence : nullptr});
    EXPECT_TRUE(engine.submit(segments));
    done += n_now;
  }
  engine.wait_for(session);
  for (const Session& other : others) engine.wait_for(other);
  return found;
}

constexpr std::array<partition::Grid, 7> kEvidenceGrids{
    {{2, 1}, {1, 2}, {1, 3}, {2, 2}, {2, 3}, {6, 1}, {1, 8}}};
class GridEvidence : public testing::TestWithParam<partition::Grid> {};
INSTANTIATE_TEST_SUITE_P(Grids, GridEvidence, testing::ValuesIn(kEvidenceGrids),
                         [](const auto& param) { return test::text(param.param); });

TEST_P(GridEvidence, IsThatOfOneRankAlone) {
  const Golden golden(300);
  struct Trial {
    ExchangeWay way;
    ChunkMemory chunks;
    std::size_t n_threads, n_others;
  };
  const std::vector<Trial> trials{{ExchangeWay::kShip, ChunkMemory::kOwn, 1, 0},
                                  {ExchangeWay::kGather, ChunkMemory::kOwn, 2, 4},
                                  {ExchangeWay::kAuto, ChunkMemory::kShared, 2, 1},
                                  {ExchangeWay::kShip, ChunkMemory::kShared, 2, 4}};
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kFull}) {
    const Found want = read(golden, *golden.engine(mode), 0, Ask::kEvidence);
    EXPECT_EQ(want.evidence.size(), 11U);
    for (const Trial& trial : trials) {
      EngineOptions options = Golden::options(mode);
      options.attention.exchange = trial.way;
      options.chunks = trial.chunks;
      options.n_threads = trial.n_threads;
      test::on_grid(golden, GetParam(), options, [&](Engine& engine) {
        expect_same(read(golden, engine, trial.n_others, Ask::kEvidence), want,
                    std::string(name_of(mode)) + ", way " + std::string(name_of(trial.way)) +
                        ", beside " + std::to_string(trial.n_others));
      });
    }
  }
}

TEST(Evidence, ChangesNoLogitsAndComesOnlyToWhoAsks) {
  const Golden golden(300);
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kFull}) {
    const auto engine = golden.engine(mode, 2);
    const Found with = read(golden, *engine, 3, Ask::kEvidence);
    const Found without = read(golden, *engine, 3, Ask::kLogits);
    EXPECT_TRUE(test::same_bits(with.logits, without.logits));
    EXPECT_EQ(with.evidence.size(), 11U);
    EXPECT_TRUE(without.evidence.empty());
    std::size_t n_spans = 0;
    for (const auto& [position, spans] : with.evidence) {
      double sum = 0;
      for (std::size_t i = 0; i < spans.size(); ++i) {
        EXPECT_LE(spans[i].first + spans[i].n_tokens + 32, position + 1);
        EXPECT_GT(spans[i].weight, 0);
        if (i > 0) {
          EXPECT_GE(spans[i].first, spans[i - 1].first + spans[i - 1].n_tokens);
        }
        sum += spans[i].weight;
      }
      EXPECT_LE(sum, 1 + 1e-6);
      n_spans += spans.size();
    }
    EXPECT_GT(n_spans, 11U);
  }
}

TEST(Evidence, OfACancelledSessionIsHandedToNobody) {
  const Golden golden(300);
  for (const partition::Grid grid : {partition::Grid{2, 1}, {1, 2}}) {
    const Found want = read(golden, *golden.engine(AttentionMode::kMoba), 0, Ask::kEvidence);
    test::on_grid(golden, grid, Golden::options(AttentionMode::kMoba), [&](Engine& engine) {
      Session session = engine.new_session();
      bool is_cancelled = false, was_late = false;
      const auto sink = std::make_shared<const LogitsSink>([](auto, auto) {});
      const auto evidence = std::make_shared<const EvidenceSink>(
          [&](auto, auto) { was_late = was_late || is_cancelled; });
      std::vector<std::size_t> all(100);
      std::iota(all.begin(), all.end(), std::size_t{0});
      EXPECT_TRUE(engine.submit(std::array{
          SegmentRequest{&session, std::span(golden.tokens).first(100), all, sink, evidence}}));
      is_cancelled = true;
      engine.cancel(std::move(session));
      expect_same(read(golden, engine, 0, Ask::kEvidence), want, test::text(grid));
      EXPECT_FALSE(was_late);
    });
  }
}

TEST(Evidence, IsToBeHadOfSparseBlocksAlone) {
  const Golden golden;
  EXPECT_TRUE(golden.engine(AttentionMode::kMoba)->has_evidence());
  EXPECT_TRUE(golden.engine(AttentionMode::kFull)->has_evidence());
  EXPECT_FALSE(golden.engine(AttentionMode::kNone)->has_evidence());
  EXPECT_FALSE(golden.engine(AttentionMode::kReference)->has_evidence());
}

}  // namespace
}  // namespace longreach::dist
