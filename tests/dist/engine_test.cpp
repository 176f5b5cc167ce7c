#include "dist/engine/engine.hpp"

#include "kernels/simd/isa.hpp"
#include "model/run_sizes.hpp"
#include "partition/cost.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/golden_engine.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/kv_formats.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace longreach::dist {
namespace {

using base::TokenId;
using model::AttentionMode;
using test::Golden;

class EngineBits : public test::EveryIsa {};
LR_ON_EVERY_ISA(EngineBits);

TEST_P(EngineBits, SplitsThreadsAndStorageChangeNothing) {
  const Golden golden;
  // The file's weights are bf16, whose products have the bits of f32 but by AMX.
  const auto other = kernels::uses_amx() ? base::WeightFormat::kBf16 : base::WeightFormat::kF32;
  for (const AttentionMode mode :
       {AttentionMode::kMoba, AttentionMode::kFull, AttentionMode::kNone}) {
    const auto want = golden.logits(*golden.engine(mode, 1, other), golden.tokens.size());
    ASSERT_EQ(want.size(), golden.tokens.size() * golden.config.vocab_size);
    for (const std::size_t n_threads : {1, 2}) {
      const auto engine = golden.engine(mode, n_threads, base::WeightFormat::kBf16);
      for (const std::size_t call : {1, 7, 100}) {
        EXPECT_TRUE(test::same_bits(golden.logits(*engine, call), want))
            << n_threads << " threads, calls of " << call;
      }
    }
  }
}

TEST_P(EngineBits, StepsOfACallChangeNothing) {
  // In mode moba steps of 512, 2048 and 60 rows.
  const Golden golden(model::kStepRows + model::kMostStepRows + 60);
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kFull}) {
    const auto want = golden.logits(*golden.engine(mode), 100);
    for (const std::size_t n_threads : {1, 2}) {
      EXPECT_TRUE(test::same_bits(
          golden.logits(*golden.engine(mode, n_threads), golden.tokens.size()), want))
          << n_threads << " threads";
    }
  }
}

TEST_P(EngineBits, ReferenceModeRepeatsForTheSameCalls) {
  const Golden golden;
  for (const std::size_t call : {1, 30, 70, 140}) {
    const auto want = golden.logits(*golden.engine(AttentionMode::kReference), call);
    EXPECT_TRUE(
        test::same_bits(golden.logits(*golden.engine(AttentionMode::kReference, 2), call), want))
        << call;
  }
}

TEST(Engine, SessionsDoNotSeeEachOther) {
  const Golden golden;
  const auto engine = golden.engine(AttentionMode::kMoba, 2);
  const auto alone = golden.logits(*engine, 50);
  Session a = engine->new_session(), b = engine->new_session();
  std::vector<float> logits_a, logits_b;
  for (int i = 0; i < 3; ++i) {
    golden.feed(*engine, a, 50, logits_a);
    golden.feed(*engine, b, 50, logits_b);
  }
  EXPECT_TRUE(test::same_bits(logits_a, alone));
  EXPECT_TRUE(test::same_bits(logits_b, alone));
}

TEST(Engine, ModesDifferOnlyBeyondTheWindow) {
  const Golden golden;
  const auto moba = golden.logits(*golden.engine(AttentionMode::kMoba), 150);
  const auto full = golden.logits(*golden.engine(AttentionMode::kFull), 150);
  const std::size_t window = 48 * golden.config.vocab_size;
  const auto head = [&](const std::vector<float>& x) { return std::span(x).first(window); };
  EXPECT_TRUE(test::same_bits(head(moba), head(full)));
  EXPECT_FALSE(test::same_bits(moba, full));
}

TEST(Engine, GivesOnlyWantedPositions) {
  constexpr std::size_t kStep = model::kStepRows;
  const Golden golden(100 + kStep + 50);
  const auto engine = golden.engine(AttentionMode::kMoba);
  Session session = engine->new_session();
  const std::size_t wanted[] = {0, 100 + kStep - 1, 100 + kStep, 100 + kStep + 49};
  std::vector<std::size_t> got;
  const auto sink = [&](std::size_t position, std::span<const float>) { got.push_back(position); };
  EXPECT_TRUE(engine->feed(session, std::span(golden.tokens).first(100), wanted, sink));
  EXPECT_TRUE(engine->feed(session, std::span(golden.tokens).subspan(100), wanted, sink));
  EXPECT_EQ(got, std::vector<std::size_t>(std::begin(wanted), std::end(wanted)));
  EXPECT_EQ(session.n_tokens(), golden.tokens.size());
  EXPECT_TRUE(engine->feed(session, {}, wanted, sink));
}

TEST(Engine, FillsASessionAsIfItHadReadThatManyTokens) {
  const Golden golden;
  std::vector<std::vector<float>> logits;
  for (const std::vector<std::size_t>& calls :
       std::vector<std::vector<std::size_t>>{{700}, {700}, {300, 400}, {699}}) {
    const auto engine = golden.engine(AttentionMode::kMoba, 1 + logits.size() % 2);
    Session session = engine->new_session();
    std::size_t n_tokens = 0;
    for (const std::size_t call : calls) {
      EXPECT_TRUE(engine->fill(session, call, 5));
      n_tokens += call;
    }
    const std::size_t position[] = {n_tokens};
    std::vector<float> row;
    EXPECT_TRUE(engine->feed(
        session, std::span(golden.tokens).first(1), position,
        [&](std::size_t, std::span<const float> all) { row.assign(all.begin(), all.end()); }));
    ASSERT_EQ(row.size(), golden.config.vocab_size);
    for (const float logit : row) ASSERT_TRUE(std::isfinite(logit));
    logits.push_back(row);
  }
  EXPECT_TRUE(test::same_bits(logits[1], logits[0]));
  EXPECT_TRUE(test::same_bits(logits[2], logits[0]));
  EXPECT_FALSE(test::same_bits(logits[3], logits[0]));
}

TEST(Engine, StopsFillingWhenToldTo) {
  const Golden golden;
  const auto engine = golden.engine(AttentionMode::kMoba);
  Session session = engine->new_session();
  EXPECT_FALSE(engine->fill(session, 10000, 5, [](double share) { return share < 0.5; }));
}

TEST(Engine, AFilledSessionCostsWhatAReadOneDoes) {
  const Golden golden;
  const auto engine = golden.engine(AttentionMode::kMoba);
  Session read = engine->new_session(), filled = engine->new_session();
  EXPECT_TRUE(engine->feed(read, golden.tokens, {}, {}));
  EXPECT_TRUE(engine->fill(filled, golden.tokens.size(), 5));
  EXPECT_EQ(engine->bytes_per_token(filled.n_tokens()), engine->bytes_per_token(read.n_tokens()));
  EXPECT_GT(engine->bytes_per_token(filled.n_tokens()), engine->weight_bytes());
}

TEST(Engine, ReadsMemoryAtSomeSpeed) {
  const Golden golden;
  EXPECT_GT(golden.engine(AttentionMode::kMoba, 2)->read_bandwidth(std::size_t{1} << 20), 0.0);
}

TEST(Engine, RefusesTokensOutsideTheVocabularyBeforeReadingAny) {
  const Golden golden;
  const auto engine = golden.engine(AttentionMode::kMoba);
  Session session = engine->new_session();
  for (const TokenId bad : {-1, 320}) {
    const TokenId tokens[] = {1, 2, bad};
    test::expect_refused([&] { engine->feed(session, tokens, {}, {}); }, std::to_string(bad),
                         "index 2", "320");
  }
  EXPECT_EQ(session.n_tokens(), 0U);
}

TEST(Engine, StopsWhenProgressSaysSo) {
  const Golden golden;
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kReference}) {
    const auto engine = golden.engine(mode);
    Session session = engine->new_session();
    double last = 0;
    EXPECT_FALSE(engine->feed(session, golden.tokens, {}, {}, [&](double share) {
      EXPECT_GE(share, last);
      last = share;
      return share < 0.3;
    }));
    EXPECT_GT(last, 0.29);
    EXPECT_LT(last, 0.7);
  }
}

TEST(Engine, DecodingReadsNoMoreAtALongerContext) {
  const Golden golden;
  const auto engine = golden.engine(AttentionMode::kMoba);
  Session session = engine->new_session();
  std::vector<std::size_t> bytes;
  for (int i = 0; i < 18; ++i) {
    engine->feed(session, std::span(golden.tokens).first(16), {}, {});
    bytes.push_back(engine->bytes_per_token(session.n_tokens()));
  }
  // From the third chunk on, a further one adds a mean key of 64 channels per head and sparse
  // block.
  for (std::size_t i = 3; i < bytes.size(); ++i)
    EXPECT_EQ(bytes[i] - bytes[i - 1], 2U * 2U * 64U * 4U);
}

class EngineMemory : public testing::TestWithParam<base::KvFormat> {};
LR_ON_EVERY_KV_FORMAT(EngineMemory);

TEST_P(EngineMemory, IsWhatWasEstimated) {
  const Golden golden;
  const EngineOptions options = Golden::options(AttentionMode::kMoba, GetParam());
  const auto engine = golden.engine(options);
  Session session = engine->new_session();
  engine->feed(session, golden.tokens, {}, {});
  LoneCommunicator alone;
  const GridPosition grid_position(alone, {1, 1});
  const partition::Layout layout = golden.layout(1, 1);
  Recorder recorder(Recording::kNothing);
  Stage stage(grid_position, golden.checkpoint, golden.config, layout, options, recorder);
  stage.open({.session = 0, .initial_state = 0});
  const std::size_t n = golden.tokens.size();
  stage.embed(golden.tokens, stage.rows(n));
  stage.run(model::Step(std::vector{model::Segment{.n_rows = static_cast<std::uint32_t>(n)}}), {});
  std::size_t cache = 0, states = 0;
  for (const auto& block : stage.state(0).blocks) {
    if (const auto* sparse = std::get_if<model::SparseState>(&block))
      cache += sparse->cache.size_bytes();
    if (const auto* rwkv = std::get_if<model::RwkvState>(&block))
      states += rwkv->wkv.size() * sizeof(float);
  }
  const partition::RunSizes sizes =
      model::run_sizes(golden.config, options.attention, base::WeightFormat::kF32,
                       golden.tokens.size(), golden.tokens.size(), 1);
  const partition::MemoryNeed need = partition::memory_need(sizes);
  const auto near = [](std::size_t got, std::size_t want) {
    return std::abs(static_cast<double>(got) / static_cast<double>(want) - 1) < 0.05;
  };
  EXPECT_TRUE(near(need.cache + need.means, cache)) << need.cache << " " << cache;
  EXPECT_TRUE(near(need.states, states)) << need.states << " " << states;
  EXPECT_TRUE(near(need.weights + need.states + 4 * 2 * 64 * 64, engine->bytes_per_token(0)));
  std::size_t reads = partition::stage_memory(sizes, {0, sizes.blocks.size()}, {}).weights;
  for (std::size_t i = 0; i < sizes.blocks.size(); ++i) {
    reads += partition::block_reads(sizes, i, 1);
  }
  EXPECT_TRUE(near(reads, engine->bytes_per_token(session.n_tokens())))
      << reads << " " << engine->bytes_per_token(session.n_tokens());
}

}  // namespace
}  // namespace longreach::dist
