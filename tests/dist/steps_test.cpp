/// Sessions that share steps: each gets the bits it has alone, whatever the others do, on any grid.
#include "tests/support/compare.hpp"
#include "tests/support/step_schedule.hpp"
#include "tests/support/thread_grid.hpp"

#include <gtest/gtest.h>

#include <array>

namespace longreach::dist {
namespace {

using test::Golden;

constexpr std::array<partition::Grid, 6> kStepGrids{
    {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {1, 3}, {3, 2}}};

class StepBits : public testing::TestWithParam<partition::Grid> {};
INSTANTIATE_TEST_SUITE_P(Grids, StepBits, testing::ValuesIn(kStepGrids),
                         [](const auto& param) { return test::text(param.param); });

TEST_P(StepBits, WhateverSharesAStepASessionHasTheBitsItHasAlone) {
  // Sanitizers make a schedule take many times as long; the release build runs them all.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr std::size_t kSchedules = 2;
  constexpr test::StepSchedule::Sizes kSizes{.n_steps = 20, .n_tokens = 60};
#else
  constexpr std::size_t kSchedules = 12;
  constexpr test::StepSchedule::Sizes kSizes;
#endif
  const Golden golden;
  test::Random seeds;
  for (std::size_t i = 0; i < kSchedules; ++i) {
    const EngineOptions options = test::varied_options(i);
    const std::size_t seed = seeds.whole(0, 1 << 30);
    test::StepSchedule schedule(golden, seed, kSizes);
    test::on_grid(golden, GetParam(), options, [&](Engine& engine) { schedule.run(engine); });
    schedule.expect_bits_of(*golden.engine(options));
    EXPECT_GT(schedule.n_shared_steps(), 5U);
    if (testing::Test::HasFailure()) {
      FAIL() << "schedule " << i << " of seed " << seed << ": " << test::text(options);
    }
  }
}

TEST(Steps, ForksOfOnePrefixHaveTheBitsOfTheWholeText) {
  const Golden golden(300);
  for (const partition::Grid grid : {partition::Grid{1, 1}, {1, 2}, {2, 3}}) {
    EngineOptions options = Golden::options(model::AttentionMode::kMoba);
    const auto want = golden.logits(*golden.engine(options), 300);
    test::on_grid(golden, grid, options, [&](Engine& engine) {
      Session source = engine.new_session();
      EXPECT_TRUE(engine.feed(source, std::span(golden.tokens).first(280), {}, {}));
      std::vector<Session> forks;
      for (int i = 0; i < 5; ++i) forks.push_back(engine.fork(source));
      std::vector<std::vector<float>> got(forks.size());
      for (std::size_t position = 280; position < 300; ++position) {
        std::vector<SegmentRequest> segments;
        for (std::size_t i = 0; i < forks.size(); ++i) {
          segments.push_back({&forks[i], std::span(golden.tokens).subspan(position, 1),
                              std::span(&position, 1),
                              std::make_shared<const LogitsSink>(
                                  [&got, i](std::size_t, std::span<const float> row) {
                                    got[i].insert(got[i].end(), row.begin(), row.end());
                                  })});
        }
        EXPECT_TRUE(engine.submit(segments));
        for (const Session& fork : forks) engine.wait_for(fork);
      }
      const auto last = std::span(want).subspan(280 * golden.config.vocab_size);
      for (const auto& logits : got) EXPECT_TRUE(test::same_bits(logits, last));
    });
  }
}

TEST(Steps, MessagesDoNotGrowWithSegments) {
  const Golden golden(64);
  const auto n_messages = [&golden](partition::Grid grid, std::size_t n_sessions,
                                    std::shared_ptr<const EvidenceSink> evidence = nullptr) {
    EngineOptions options = Golden::options(model::AttentionMode::kMoba);
    options.attention.exchange = model::ExchangeWay::kShip;
    options.chunks = ChunkMemory::kOwn;
    std::size_t counted = 0;
    test::on_grid(golden, grid, options, [&](Engine& engine) {
      std::vector<Session> sessions;
      for (std::size_t i = 0; i < n_sessions; ++i) {
        sessions.push_back(engine.new_session());
        EXPECT_TRUE(engine.fill(sessions.back(), 100, i));
      }
      engine.usage();
      const std::size_t before = test::n_thread_calls.load();
      std::vector<SegmentRequest> segments;
      const std::size_t position = 100;
      const auto sink = std::make_shared<const LogitsSink>([](auto, auto) {});
      for (Session& session : sessions) {
        segments.push_back(
            {&session, std::span(golden.tokens).first(1), {&position, 1}, sink, evidence});
      }
      EXPECT_TRUE(engine.submit(segments));
      for (const Session& session : sessions) engine.wait_for(session);
      engine.usage();  // all ranks are done
      counted = test::n_thread_calls.load() - before;
    });
    return counted;
  };
  for (const partition::Grid grid : {partition::Grid{1, 2}, {2, 1}, {2, 2}}) {
    const std::size_t of_one = n_messages(grid, 1);
    EXPECT_GT(of_one, 2U);
    EXPECT_EQ(n_messages(grid, 30), of_one) << test::text(grid);
    // Evidence adds some, for each rank and block at most, and not for each segment.
    const auto evidence = std::make_shared<const EvidenceSink>([](auto, auto) {});
    const std::size_t of_thirty = n_messages(grid, 30, evidence);
    EXPECT_GT(of_thirty, of_one) << test::text(grid);
    EXPECT_LE(of_thirty, of_one + 2 * (grid.n_ranks() - 1) + 2) << test::text(grid);
  }
}

TEST(Steps, RefuseABadTokenBeforeAnythingIsRead) {
  const Golden golden;
  const auto engine = golden.engine(model::AttentionMode::kMoba);
  Session a = engine->new_session(), b = engine->new_session();
  const base::TokenId good[] = {1, 2}, bad[] = {3, -1};
  const std::vector<SegmentRequest> segments{{&a, good, {}, {}}, {&b, bad, {}, {}}};
  EXPECT_THROW(engine->submit(segments), base::InputError);
  EXPECT_EQ(a.n_tokens(), 0U);
  EXPECT_EQ(b.n_tokens(), 0U);
}

}  // namespace
}  // namespace longreach::dist
