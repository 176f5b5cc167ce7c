#include "dist/context/context_part.hpp"
#include "kernels/base/output_file.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/thread_grid.hpp"

#include <gtest/gtest.h>

#include <tuple>

namespace longreach::dist {
namespace {

using model::AttentionMode;
using partition::Grid;
using test::Golden;

constexpr std::size_t kTokens = 330;

/// What is saved on one grid is gone on with on another.
class SavedSessions : public testing::TestWithParam<std::tuple<Grid, Grid>> {};

TEST_P(SavedSessions, GoOnWithTheBitsOfOneRun) {
  const auto [written, opened] = GetParam();
  const Golden golden(kTokens);
  const std::size_t n_vocab = golden.config.vocab_size;
  EngineOptions options = Golden::options(AttentionMode::kMoba, base::KvFormat::kBf16);
  const std::vector<float> wanted = golden.logits(*golden.engine(options), 70);
  const test::TempFolder folder;
  for (const char* const part : {"cache", "states"}) {
    std::filesystem::create_directory(folder.path() / part);
  }
  options.contexts = {{{folder.path()}}};
  std::vector<std::size_t> saved;
  test::on_grid(golden, written, options, [&](Engine& engine) {
    Session session = engine.new_session();
    std::vector<float> logits;
    while (session.n_tokens() < kTokens) {
      golden.feed(engine, session, 70, logits);
      engine.save(session);
      saved.push_back(session.n_tokens());
      EXPECT_LE(engine.n_saved_tokens(), session.n_tokens());
    }
    engine.finish_saving();
    EXPECT_EQ(engine.n_saved_tokens(), kTokens);
    // Memory of files gives the same bits as memory of the cache's own.
    EXPECT_TRUE(test::same_bits(logits, wanted));
  });
  test::on_grid(golden, opened, options, [&](Engine& engine) {
    for (const std::size_t n : saved) {
      Session session = engine.restore(n);
      Session fork = engine.fork(session);
      for (Session* const each : {&session, &fork}) {
        std::vector<float> logits(wanted.begin(),
                                  wanted.begin() + static_cast<std::ptrdiff_t>(n * n_vocab));
        while (each->n_tokens() < kTokens) golden.feed(engine, *each, 70, logits);
        EXPECT_TRUE(test::same_bits(logits, wanted)) << n;
      }
    }
  });
}

std::string name(const testing::TestParamInfo<std::tuple<Grid, Grid>>& info) {
  return "written" + test::text(std::get<0>(info.param)) + "opened" +
         test::text(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Grids, SavedSessions,
                         testing::Values(std::tuple{Grid{1, 1}, Grid{2, 2}},
                                         std::tuple{Grid{2, 1}, Grid{1, 3}},
                                         std::tuple{Grid{2, 3}, Grid{1, 1}},
                                         std::tuple{Grid{1, 2}, Grid{1, 2}}),
                         name);

TEST(SavedSession, WhatCannotBeWrittenIsSaid) {
  const Golden golden(kTokens);
  const test::TempFolder folder;
  EngineOptions options = Golden::options(AttentionMode::kMoba);
  base::write_file(folder.path() / "no-folder", "a file");
  options.contexts = {{{folder.path() / "no-folder"}}};
  const auto engine = golden.engine(options);
  Session session = engine->new_session();
  std::vector<float> logits;
  golden.feed(*engine, session, 70, logits);
  engine->save(session);
  test::expect_refused([&] { engine->finish_saving(); }, options.contexts[0][0].path.string(),
                       "Not a directory");
}

TEST(SavedSession, MayBeClosedWhileItIsWritten) {
  const Golden golden(kTokens);
  const test::TempFolder folder;
  for (const char* const part : {"cache", "states"}) {
    std::filesystem::create_directory(folder.path() / part);
  }
  EngineOptions options = Golden::options(AttentionMode::kMoba);
  options.contexts = {{{folder.path()}}};
  for (const Grid grid : {Grid{1, 1}, Grid{1, 3}, Grid{2, 2}}) {
    test::on_grid(golden, grid, options, [&](Engine& engine) {
      std::vector<float> first, second;
      {
        Session session = engine.new_session();
        golden.feed(engine, session, kTokens, first);
        engine.save(session);
      }
      Session again = engine.new_session();
      golden.feed(engine, again, kTokens, second);
      EXPECT_TRUE(test::same_bits(first, second));
    });
  }
}

}  // namespace
}  // namespace longreach::dist
