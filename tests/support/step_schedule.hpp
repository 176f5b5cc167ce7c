/// Random schedules: sessions join, leave, fork and are cancelled while they share steps with
/// others, and must get the bits they have alone.
#pragma once

#include "tests/support/compare.hpp"
#include "tests/support/golden_engine.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace longreach::test {

/// One schedule, and what its sessions got.
class StepSchedule {
 public:
  /// Sessions at a time, steps in all, tokens of a session that is not a fork, at most.
  struct Sizes {
    std::size_t n_sessions = 6, n_steps = 30, n_tokens = 300;
  };

  StepSchedule(const Golden& golden, std::size_t seed, Sizes sizes)
      : golden_(golden), sizes_(sizes) {
    random_.engine.seed(static_cast<unsigned>(seed));
  }

  /// Runs the schedule on an engine, on its leader.
  void run(dist::Engine& engine) {
    for (std::size_t i = 0; i < sizes_.n_steps; ++i) {
      if (live_.size() < sizes_.n_sessions && chance(2)) open(engine);
      if (live_.size() < sizes_.n_sessions && !live_.empty() && chance(3)) fork(engine);
      if (live_.size() > 1 && chance(8)) cancel(engine);
      step(engine);
      if (chance(4)) engine.poll();
      leave(engine);
    }
    for (Live& live : live_) engine.wait_for(live.session);
    live_.clear();
  }

  /// Compares what every session got with what `alone` gives for its tokens by themselves.
  void expect_bits_of(dist::Engine& alone) const {
    EXPECT_GT(stories_.size(), 2);
    const std::size_t n = golden_.config.vocab_size;
    for (const auto& story : stories_) {
      const std::span<const base::TokenId> tokens(story->tokens.data(), story->n_read);
      dist::Session session = alone.new_session();
      std::vector<std::size_t> all(tokens.size());
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
      std::vector<float> want;
      EXPECT_TRUE(alone.feed(session, tokens, all, [&](std::size_t, std::span<const float> row) {
        want.insert(want.end(), row.begin(), row.end());
      }));
      // A cancelled session may lack rows that were under way, and gets none later.
      for (const auto& [position, row] : story->logits) {
        EXPECT_TRUE(same_bits(row, std::span(want).subspan(position * n, n)))
            << "position " << position << " of " << tokens.size();
      }
      if (!story->is_cancelled) {
        EXPECT_EQ(story->logits.size(), story->n_wanted);
      }
      EXPECT_FALSE(story->was_called_late);
    }
  }

  std::size_t n_shared_steps() const { return n_shared_steps_; }

 private:
  /// What a session reads, and what it got.
  struct Story {
    std::vector<base::TokenId> tokens;
    std::size_t n_read = 0, n_wanted = 0;
    bool is_cancelled = false, was_called_late = false;
    std::map<std::size_t, std::vector<float>> logits;
  };
  struct Live {
    std::shared_ptr<Story> story;
    dist::Session session;
    std::shared_ptr<const dist::LogitsSink> sink;
  };

  bool chance(std::size_t one_in) { return random_.whole(1, one_in) == 1; }

  void add(std::vector<base::TokenId> tokens, std::size_t n_read, dist::Session session) {
    const std::size_t n_more = random_.whole(1, sizes_.n_tokens);
    for (std::size_t i = 0; i < n_more; ++i) {
      tokens.push_back(static_cast<base::TokenId>(random_.whole(0, golden_.config.vocab_size - 1)));
    }
    const auto story = std::make_shared<Story>();
    story->tokens = std::move(tokens);
    story->n_read = n_read;
    stories_.push_back(story);
    live_.push_back({story, std::move(session),
                     std::make_shared<const dist::LogitsSink>(
                         [story = story.get()](std::size_t position, std::span<const float> row) {
                           story->was_called_late = story->is_cancelled;
                           story->logits[position] = {row.begin(), row.end()};
                         })});
  }

  void open(dist::Engine& engine) { add({}, 0, engine.new_session()); }

  auto any_live() {
    return std::next(live_.begin(),
                     static_cast<std::ptrdiff_t>(random_.whole(0, live_.size() - 1)));
  }

  /// From where the source is now, whose logits may still be under way.
  void fork(dist::Engine& engine) {
    const auto source = any_live();
    std::vector<base::TokenId> tokens = source->story->tokens;
    tokens.resize(source->story->n_read);
    add(std::move(tokens), source->story->n_read, engine.fork(source->session));
  }

  void cancel(dist::Engine& engine) {
    const auto live = any_live();
    live->story->is_cancelled = true;
    engine.cancel(std::move(live->session));
    live_.erase(live);
  }

  /// Sessions that have read everything end, with or without waiting for others.
  void leave(dist::Engine& engine) {
    for (auto live = live_.begin(); live != live_.end();) {
      if (live->story->n_read < live->story->tokens.size()) {
        ++live;
        continue;
      }
      engine.wait_for(live->session);
      live = live_.erase(live);
    }
  }

  /// Deals up to 2048 rows to some of the sessions: one each, or many.
  void step(dist::Engine& engine) {
    std::size_t rows_left = chance(3) ? model::kMostStepRows : random_.whole(1, 40);
    std::list<std::vector<std::size_t>> wanted;
    std::vector<dist::SegmentRequest> segments;
    for (Live& live : live_) {
      Story& story = *live.story;
      const std::size_t n_left = std::min(story.tokens.size() - story.n_read, rows_left);
      if (n_left == 0 || chance(4)) continue;
      const std::size_t n = chance(2) ? 1 : random_.whole(1, n_left);
      std::vector<std::size_t>& positions = wanted.emplace_back();
      const bool wants_all = chance(3);
      for (std::size_t p = story.n_read; p < story.n_read + n; ++p) {
        if (wants_all || p + 1 == story.n_read + n || chance(5)) positions.push_back(p);
      }
      story.n_wanted += positions.size();
      segments.push_back({&live.session,
                          std::span<const base::TokenId>(story.tokens).subspan(story.n_read, n),
                          positions, live.sink});
      story.n_read += n;
      rows_left -= n;
    }
    if (segments.empty()) return;
    if (segments.size() > 1) ++n_shared_steps_;
    EXPECT_TRUE(engine.submit(segments));
  }

  const Golden& golden_;
  Random random_;
  Sizes sizes_;
  std::list<Live> live_;
  std::vector<std::shared_ptr<Story>> stories_;
  std::size_t n_shared_steps_ = 0;
};

/// The i-th of many choices of formats, modes, threads and ways, every value of which comes up
/// within a dozen.
inline dist::EngineOptions varied_options(std::size_t i) {
  constexpr base::KvFormat kKv[] = {base::KvFormat::kF32, base::KvFormat::kBf16,
                                    base::KvFormat::kInt8};
  const base::ProductFormat product = base::kProductFormats[i % std::size(base::kProductFormats)];
  const bool is_full = i % 3 == 2;
  dist::EngineOptions options = Golden::options(
      is_full ? model::AttentionMode::kFull : model::AttentionMode::kMoba, kKv[(i + i / 3) % 3]);
  options.weights = product.weights;
  options.activations = product.activations;
  options.n_threads = 1 + i / 2 % 2;
  options.attention.exchange = i % 2 == 0 ? model::ExchangeWay::kShip : model::ExchangeWay::kGather;
  options.chunks = i / 4 % 2 == 0 ? dist::ChunkMemory::kOwn : dist::ChunkMemory::kShared;
  return options;
}

/// "moba, kv bf16, weights int8/int8, 2 threads, gather, shared"
inline std::string text(const dist::EngineOptions& options) {
  return std::string(name_of(options.attention.mode)) + ", kv " +
         std::string(name_of(options.attention.kv)) + ", weights " +
         text_of(base::ProductFormat(options.weights, options.activations)) + ", " +
         std::to_string(options.n_threads) + " threads, " +
         std::string(name_of(options.attention.exchange)) +
         (options.chunks == dist::ChunkMemory::kShared ? ", shared" : ", own");
}

}  // namespace longreach::test
