/// The distribution of the engine: any grid gives the bits of one rank. Ranks are threads here.
#include "tests/support/compare.hpp"
#include "tests/support/golden_engine.hpp"
#include "tests/support/thread_grid.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace longreach::dist {
namespace {

using model::AttentionMode;
using model::ExchangeWay;
using test::Golden;
using test::on_grid;
using test::text;

/// Grids of stages x shards: as many stages as blocks, more shards than heads, and 3 divides
/// nothing.
constexpr std::array<partition::Grid, 10> kGrids{
    {{2, 1}, {1, 2}, {3, 1}, {1, 3}, {2, 2}, {4, 1}, {1, 4}, {2, 3}, {6, 1}, {1, 8}}};

class GridBits : public testing::TestWithParam<partition::Grid> {};
INSTANTIATE_TEST_SUITE_P(Grids, GridBits, testing::ValuesIn(kGrids),
                         [](const auto& param) { return text(param.param); });

TEST_P(GridBits, AnyGridSplitAndWayGivesTheBitsOfOneRank) {
  const Golden golden;
  // Ways with the splits they are tried on: decoding, few queries, many, and all.
  struct Trial {
    ExchangeWay way;
    ChunkMemory chunks;
    std::vector<std::size_t> calls;
  };
  const std::vector<Trial> trials{{ExchangeWay::kShip, ChunkMemory::kShared, {1, 7, 150}},
                                  {ExchangeWay::kGather, ChunkMemory::kOwn, {7, 100}},
                                  {ExchangeWay::kGather, ChunkMemory::kShared, {1, 30, 150}},
                                  {ExchangeWay::kAuto, ChunkMemory::kOwn, {100}}};
  for (const AttentionMode mode :
       {AttentionMode::kMoba, AttentionMode::kFull, AttentionMode::kNone}) {
    const auto want = golden.logits(*golden.engine(mode), golden.tokens.size());
    for (const Trial& trial : trials) {
      EngineOptions options = Golden::options(mode);
      options.attention.exchange = trial.way;
      options.chunks = trial.chunks;
      options.n_threads = trial.way == ExchangeWay::kGather ? 2 : 1;
      on_grid(golden, GetParam(), options, [&](Engine& engine) {
        for (const std::size_t call : trial.calls) {
          EXPECT_TRUE(test::same_bits(golden.logits(engine, call), want))
              << "calls of " << call << ", way " << static_cast<int>(trial.way);
        }
      });
    }
  }
}

TEST_P(GridBits, StepsOfACallOnTheirWayTogetherGiveTheBitsOfOneRank) {
  // Steps of 512, 2048 and 100 rows.
  const Golden golden(model::kStepRows + model::kMostStepRows + 100);
  const EngineOptions options = Golden::options(AttentionMode::kMoba);
  const auto want = golden.logits(*golden.engine(options), model::kStepRows);
  on_grid(golden, GetParam(), options, [&](Engine& engine) {
    for (const std::size_t call : {golden.tokens.size(), model::kStepRows + 1}) {
      EXPECT_TRUE(test::same_bits(golden.logits(engine, call), want)) << "calls of " << call;
    }
  });
}

TEST_P(GridBits, CachesOfFewBitsGiveTheBitsOfOneRankAndOneCall) {
  const Golden golden;
  struct Trial {
    ExchangeWay way;
    ChunkMemory chunks;
    std::size_t call;
  };
  const std::vector<Trial> trials{{ExchangeWay::kShip, ChunkMemory::kOwn, 30},
                                  {ExchangeWay::kGather, ChunkMemory::kOwn, 7},
                                  {ExchangeWay::kGather, ChunkMemory::kShared, 150},
                                  {ExchangeWay::kAuto, ChunkMemory::kOwn, 1}};
  for (const auto kv : {base::KvFormat::kBf16, base::KvFormat::kInt8}) {
    const EngineOptions moba = Golden::options(AttentionMode::kMoba, kv);
    const auto want = golden.logits(*golden.engine(moba), golden.tokens.size());
    for (const Trial& trial : trials) {
      EngineOptions options = moba;
      options.attention.exchange = trial.way;
      options.chunks = trial.chunks;
      on_grid(golden, GetParam(), options, [&](Engine& engine) {
        EXPECT_TRUE(test::same_bits(golden.logits(engine, trial.call), want))
            << name_of(kv) << ", calls of " << trial.call;
      });
    }
  }
}

TEST_P(GridBits, SequencesInFlightTogetherDoNotSeeEachOther) {
  const Golden golden;
  const auto want = golden.logits(*golden.engine(AttentionMode::kMoba), golden.tokens.size());
  on_grid(golden, GetParam(), Golden::options(AttentionMode::kMoba), [&](Engine& engine) {
    constexpr std::size_t kSequences = 3, kCall = 5;
    std::vector<Session> sessions;
    for (std::size_t i = 0; i < kSequences; ++i) sessions.push_back(engine.new_session());
    std::vector<std::size_t> all(golden.tokens.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    std::array<std::vector<float>, kSequences> logits;
    for (std::size_t done = 0; done < golden.tokens.size(); done += kCall) {
      for (std::size_t i = 0; i < kSequences; ++i) {
        EXPECT_TRUE(engine.read(sessions[i], std::span(golden.tokens).subspan(done, kCall), all,
                                [&logits, i](std::size_t, std::span<const float> row) {
                                  logits[i].insert(logits[i].end(), row.begin(), row.end());
                                }));
      }
    }
    for (std::size_t i = 0; i < kSequences; ++i) {
      engine.wait_for(sessions[i]);
      EXPECT_TRUE(test::same_bits(logits[i], want)) << i;
    }
  });
}

TEST_P(GridBits, AFilledSessionGoesOnWithTheBitsOfOneRank) {
  const Golden golden;
  const auto logits_after_fill = [&golden](Engine& engine) {
    Session session = engine.new_session();
    EXPECT_TRUE(engine.fill(session, 700, 5));
    EXPECT_GT(engine.read_bandwidth(std::size_t{1} << 16), 0.0);  // of all ranks, in between
    std::vector<float> logits;
    const std::array<std::size_t, 2> positions{700, 719};
    EXPECT_TRUE(engine.feed(session, std::span(golden.tokens).first(20), positions,
                            [&](std::size_t, std::span<const float> row) {
                              logits.insert(logits.end(), row.begin(), row.end());
                            }));
    return logits;
  };
  for (const auto kv : {base::KvFormat::kF32, base::KvFormat::kInt8}) {
    const EngineOptions options = Golden::options(AttentionMode::kMoba, kv);
    const auto want = logits_after_fill(*golden.engine(options));
    on_grid(golden, GetParam(), options, [&](Engine& engine) {
      EXPECT_TRUE(test::same_bits(logits_after_fill(engine), want)) << name_of(kv);
    });
  }
}

TEST_P(GridBits, AForkGoesOnAsItsSourceWould) {
  const Golden golden;
  for (const auto kv : {base::KvFormat::kF32, base::KvFormat::kInt8}) {
    const EngineOptions options = Golden::options(AttentionMode::kMoba, kv);
    const auto want = golden.logits(*golden.engine(options), golden.tokens.size());
    on_grid(golden, GetParam(), options, [&](Engine& engine) {
      for (const std::size_t at : {1, 15, 16, 133}) {
        Session source = engine.new_session();
        std::vector<float> logits;
        golden.feed(engine, source, at, logits);
        Session fork = engine.fork(source);
        std::vector<float> forked = logits;
        // Other tokens in the source must not be seen by the fork.
        const std::vector<base::TokenId> others(40, 3);
        EXPECT_TRUE(engine.feed(source, others, {}, {}));
        golden.feed(engine, fork, golden.tokens.size(), forked);
        EXPECT_TRUE(test::same_bits(forked, want)) << name_of(kv) << ", forked at " << at;
      }
    });
  }
}

/// Bytes of chunks and of partials that all ranks of 1 x 2 send for the tokens in calls of `call`.
std::array<std::uint64_t, 2> sent_bytes(const Golden& golden, base::KvFormat kv, ExchangeWay way,
                                        std::size_t call) {
  EngineOptions options = Golden::options(AttentionMode::kFull, kv);
  options.attention.exchange = way;
  options.chunks = ChunkMemory::kOwn;
  std::array<std::uint64_t, 2> sent{};
  on_grid(golden, {1, 2}, options, [&](Engine& engine) {
    golden.logits(engine, call);
    for (const RankUsage& rank : engine.usage()) {
      for (const TrafficBytes& block : rank.block_bytes) {
        sent[0] += block[static_cast<std::size_t>(model::Traffic::kChunks)];
        sent[1] += block[static_cast<std::size_t>(model::Traffic::kPartials)];
      }
    }
  });
  return sent;
}

TEST(GridBytes, ChunksTravelAsTheyAreKept) {
  const Golden golden(300);
  const auto bytes = [&](base::KvFormat kv) {
    return sent_bytes(golden, kv, ExchangeWay::kGather, 100)[0];
  };
  const std::uint64_t f32 = bytes(base::KvFormat::kF32), int8 = bytes(base::KvFormat::kInt8);
  EXPECT_GT(f32, 0U);
  EXPECT_EQ(bytes(base::KvFormat::kBf16), f32 / 2);
  // Of 32 rows, of which 16 at most are there: numbers of 16 + 32 rows at most and 2 x 32 scales.
  EXPECT_GE(int8 - f32 / 4, f32 / 4 * 128 / (48 * 64));
  EXPECT_LT(int8 - f32 / 4, f32 / 4 * 128 / (32 * 64));
}

TEST(GridBytes, WhatMovesFewerBytesDependsOnTheFormat) {
  // A chunk of 16 rows is 12288 bytes in f32, 6144 in bf16 and 3200 in int8; a partial is 264. All
  // queries of a call see all chunks before it, so the latter is less from 47, 24 and 13 queries
  // on, were it not for the chunks that the call itself fills.
  const Golden golden(300);
  struct Trial {
    base::KvFormat kv;
    std::size_t least;
  };
  for (const Trial& trial : {Trial{base::KvFormat::kF32, 47}, Trial{base::KvFormat::kBf16, 24},
                             Trial{base::KvFormat::kInt8, 13}}) {
    const auto few = sent_bytes(golden, trial.kv, ExchangeWay::kAuto, trial.least / 2);
    EXPECT_EQ(few[0], 0U) << name_of(trial.kv);
    const auto many = sent_bytes(golden, trial.kv, ExchangeWay::kAuto, 2 * trial.least);
    EXPECT_GT(many[0], many[1]) << name_of(trial.kv);
  }
}

TEST(Replicas, AnswerAtOnceWithoutEachOther) {
  const Golden golden;
  const auto want = golden.logits(*golden.engine(AttentionMode::kMoba), golden.tokens.size());
  // Ranks of all, and of the replicas' grids, which differ.
  struct Case {
    std::size_t n_ranks;
    std::vector<partition::Grid> grids;
  };
  for (const Case& c : {Case{3, {{1, 1}, {1, 1}, {1, 1}}}, Case{4, {{1, 2}, {2, 1}}}}) {
    test::run_ranks(c.n_ranks, [&](Communicator& world) {
      const std::size_t replica = world.rank() * c.grids.size() / c.n_ranks;
      const partition::Grid grid = c.grids[replica];
      Engine engine(world, golden.checkpoint, golden.config,
                    golden.layout(grid.n_stages, grid.n_shards),
                    Golden::options(AttentionMode::kMoba));
      EXPECT_EQ(engine.replica(), replica);
      EXPECT_EQ(engine.leads(), world.rank() % grid.n_ranks() == 0);
      if (!engine.leads()) return engine.serve();
      // Each at its own pace: they have nothing to do with each other.
      for (std::size_t i = 0; i <= replica; ++i) {
        EXPECT_TRUE(test::same_bits(golden.logits(engine, 40 + 60 * i), want)) << replica;
      }
      const auto usage = engine.usage();  // but for what is told of all ranks
      EXPECT_EQ(usage.size(), c.n_ranks);
      EXPECT_EQ(usage[0].logits_bytes, 0);
      EXPECT_EQ(usage.back().logits_bytes > 0, c.n_ranks == 4);
    });
  }
}

}  // namespace
}  // namespace longreach::dist
