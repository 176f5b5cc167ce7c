/// Engines of a golden case, alone or on a grid, and all logits they give.
#pragma once

#include "dist/comm/lone_communicator.hpp"
#include "dist/engine/engine.hpp"
#include "tests/support/random.hpp"
#include "tests/support/source_folder.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

namespace longreach::test {

/// The golden case `a`: 4 RWKV-7 and 2 sparse blocks, 2 heads, bf16, 320 tokens in the vocabulary;
/// chunks of 16, top-k 3, eviction above 60 rows.
class Golden {
 public:
  model::Checkpoint checkpoint =
      model::Checkpoint::open(source_folder() / "tests/golden/data/a/model.pth");
  model::ModelConfig config = model::read_config(checkpoint);
  std::vector<base::TokenId> tokens;

  /// So many random tokens: of the same ones, the first. The default is less than a step, but
  /// enough for chunks to be chosen and rows to be evicted.
  explicit Golden(std::size_t n_tokens = 150) {
    Random random;
    for (std::size_t i = 0; i < n_tokens; ++i)
      tokens.push_back(static_cast<base::TokenId>(random.whole(0, config.vocab_size - 1)));
  }

  static dist::EngineOptions options(model::AttentionMode mode,
                                     base::KvFormat kv = base::KvFormat::kF32) {
    dist::EngineOptions options;
    options.attention.mode = mode;
    options.attention.kv = kv;
    options.attention.chunk_size = 16;
    options.attention.kv_max = 60;
    options.attention.kv_min = 40;
    options.attention.kv_window = 12;
    return options;
  }

  /// A layout that deals the blocks to the stages as evenly as it goes.
  partition::Layout layout(std::size_t n_stages, std::size_t n_shards) const {
    partition::Layout layout{{n_stages, n_shards}, {}};
    const std::size_t n_blocks = config.execution_order().size();
    for (std::size_t s = 0; s < n_stages; ++s)
      layout.stage_blocks.push_back(partition::part_of(n_blocks, s, n_stages));
    return layout;
  }

  /// An engine of one rank.
  std::unique_ptr<dist::Engine> engine(
      model::AttentionMode mode, std::size_t n_threads = 1,
      base::WeightFormat weights = base::WeightFormat::kF32) const {
    dist::EngineOptions chosen = options(mode);
    chosen.n_threads = n_threads;
    chosen.weights = weights;
    return engine(chosen);
  }
  std::unique_ptr<dist::Engine> engine(const dist::EngineOptions& chosen) const {
    static dist::LoneCommunicator alone;
    return std::make_unique<dist::Engine>(alone, checkpoint, config, layout(1, 1), chosen);
  }

  /// The logits of all positions when tokens are fed in calls of `call` tokens (the last one
  /// shorter).
  std::vector<float> logits(dist::Engine& engine, std::size_t call) const {
    dist::Session session = engine.new_session();
    std::vector<float> all;
    for (std::size_t done = 0; done < tokens.size(); done += call) feed(engine, session, call, all);
    return all;
  }

  /// Feeds the session's next call and appends its logits.
  void feed(dist::Engine& engine, dist::Session& session, std::size_t call,
            std::vector<float>& logits) const {
    std::vector<std::size_t> wanted(tokens.size());
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
    const std::size_t first = session.n_tokens(), n = std::min(call, tokens.size() - first);
    EXPECT_TRUE(engine.feed(session, std::span(tokens).subspan(first, n), wanted,
                            [&](std::size_t position, std::span<const float> row) {
                              EXPECT_EQ(position * config.vocab_size, logits.size());
                              logits.insert(logits.end(), row.begin(), row.end());
                            }));
  }
};

}  // namespace longreach::test
