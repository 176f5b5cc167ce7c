/// Which queries are held against full attention, and that the figures are the same on any grid.
#include "dist/trace/selection_meter.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/golden_engine.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace longreach::dist {
namespace {

using model::AttentionMode;
using test::Golden;

/// A step of one segment, whose logits are wanted of these rows.
model::Step step_at(std::size_t position, std::size_t n_rows,
                    std::initializer_list<std::size_t> wanted = {}) {
  model::RowSet rows;
  for (const std::size_t row : wanted) rows.set(row);
  return model::Step({{0, static_cast<std::uint32_t>(n_rows), position}}, rows);
}

/// The positions among the first n that are measured when they come in steps of `length`.
std::vector<std::size_t> measured(SelectionMeter& meter, std::size_t n, std::size_t length) {
  std::vector<std::size_t> positions;
  for (std::size_t first = 0; first < n; first += length) {
    const model::Step step = step_at(first, length);
    meter.begin_step(step);
    for (std::size_t i = 0; i < length; ++i) {
      if (meter.measures(i)) positions.push_back(first + i);
    }
  }
  return positions;
}

TEST(SelectionMeter, DrawsPositionsWhateverTheSteps) {
  constexpr std::size_t kPositions = 1 << 16, kOneIn = 64;
  SelectionMeter meter(kOneIn, 0);
  const auto positions = measured(meter, kPositions, 256);
  EXPECT_EQ(positions, measured(meter, kPositions, 1));
  // 1024 are expected, with a deviation of 32; so are 16 at each place in a chunk of 64, with 4.
  EXPECT_NEAR(static_cast<double>(positions.size()), 1024, 5 * 32);
  std::array<std::size_t, 64> at{};
  for (const std::size_t position : positions) ++at[position % 64];
  EXPECT_GE(std::ranges::min(at), 1);
  EXPECT_LE(std::ranges::max(at), 16 + 6 * 4);
  SelectionMeter all(1, 0);
  EXPECT_EQ(measured(all, 1000, 100).size(), 1000);
}

TEST(SelectionMeter, MeasuresWhoseLogitsAreWantedAloneAtTheEnd) {
  SelectionMeter meter(std::size_t{1} << 40, 0);
  const auto uses = [&meter](const model::Step& step) {
    meter.begin_step(step);
    meter.begin_block(3);
    const std::size_t n_before = meter.samples().size();
    for (std::size_t i = 0; i < step.n_rows(); ++i) {
      if (meter.measures(i)) meter.see_mass(1, i, {0.25F, 0.5F});
    }
    return meter.samples().subspan(n_before);
  };
  EXPECT_TRUE(uses(step_at(1000, 8)).empty());
  EXPECT_TRUE(uses(step_at(1000, 8, {3})).empty());
  EXPECT_TRUE(uses(step_at(1000, 8, {3, 7})).empty());
  const MassSample want{1008, 3, 1, QueryUse::kAnswering, {0.25F, 0.5F}};
  const auto found = uses(step_at(1000, 8, {7}));
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0], want);
  // Segments are asked one by one.
  model::RowSet wanted;
  for (const std::size_t row : {1, 4, 5}) wanted.set(row);
  const MassSample other{22, 3, 1, QueryUse::kAnswering, {0.25F, 0.5F}};
  const auto beside = uses(model::Step({{0, 2, 20}, {1, 4, 1000}}, wanted));
  ASSERT_EQ(beside.size(), 1);
  EXPECT_EQ(beside[0], other);
}

/// What a leader measures when it reads the golden tokens and then some one by one, as answers are
/// read; by block.
std::vector<MassSample> masses(const Golden& golden, Engine& engine) {
  engine.measure_selection(4);
  Session session = engine.new_session();
  const std::span<const base::TokenId> tokens(golden.tokens);
  EXPECT_TRUE(
      engine.feed(session, tokens.first(290), std::array<std::size_t, 1>{289}, [](auto, auto) {}));
  for (std::size_t i = 290; i < tokens.size(); ++i) {
    EXPECT_TRUE(engine.feed(session, tokens.subspan(i, 1), std::array{i}, [](auto, auto) {}));
  }
  std::vector<MassSample> samples = engine.selection_masses();
  std::ranges::stable_sort(samples, {}, &MassSample::block);
  return samples;
}

class GridMasses : public testing::TestWithParam<partition::Grid> {};
INSTANTIATE_TEST_SUITE_P(Grids, GridMasses,
                         testing::Values(partition::Grid{2, 1}, partition::Grid{1, 2},
                                         partition::Grid{1, 3}, partition::Grid{2, 3},
                                         partition::Grid{6, 1}, partition::Grid{1, 8}),
                         [](const auto& grid) {
                           return std::to_string(grid.param.n_stages) + "x" +
                                  std::to_string(grid.param.n_shards);
                         });

TEST_P(GridMasses, AreThoseOfOneRank) {
  const Golden golden(300);
  const std::vector<MassSample> want = masses(golden, *golden.engine(AttentionMode::kMoba));
  EXPECT_GT(std::ranges::count_if(want, [](const MassSample& s) { return s.shares.seen < 1; }),
            100);
  // 2 sparse blocks of 2 heads; the prompt's last query and ten after it answer.
  EXPECT_EQ(std::ranges::count(want, QueryUse::kAnswering, &MassSample::use), 2 * 2 * 11);
  for (const ChunkMemory memory : {ChunkMemory::kShared, ChunkMemory::kOwn}) {
    EngineOptions options = Golden::options(AttentionMode::kMoba);
    options.chunks = memory;
    options.n_threads = memory == ChunkMemory::kOwn ? 2 : 1;
    test::run_ranks(GetParam().n_ranks(), [&](Communicator& world) {
      Engine engine(world, golden.checkpoint, golden.config,
                    golden.layout(GetParam().n_stages, GetParam().n_shards), options);
      if (engine.leads()) {
        EXPECT_EQ(masses(golden, engine), want);
      } else {
        engine.serve();
      }
    });
  }
}

TEST(Masses, AreAllThereIsInModeFull) {
  const Golden golden(300);
  const std::vector<MassSample> samples = masses(golden, *golden.engine(AttentionMode::kFull));
  EXPECT_GT(samples.size(), 200);
  for (const MassSample& sample : samples) {
    EXPECT_EQ(sample.shares, (model::MassShares{1, 1})) << sample.n_tokens;
  }
}

TEST(Masses, AreMeasuredWithoutChangingLogits) {
  const Golden golden;
  const auto engine = golden.engine(AttentionMode::kMoba);
  const auto want = golden.logits(*engine, 100);
  engine->measure_selection(1);
  EXPECT_TRUE(test::same_bits(golden.logits(*engine, 100), want));
  EXPECT_EQ(engine->selection_masses().size(), 4 * golden.tokens.size());  // blocks x heads
}

}  // namespace
}  // namespace longreach::dist
