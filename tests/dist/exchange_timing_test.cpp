#include "dist/engine/exchange_timing.hpp"

#include "kernels/attention/attention.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

namespace longreach::dist {
namespace {

constexpr AttendedChunks kSight{.n_head = 5, .n_closed = 3, .n_chosen = 2, .n_recent = 1};

TEST(ExchangeTiming, TimesEveryRoundAndCountsWhatShardsSend) {
  for (const std::size_t n_shards : {1, 2, 3, 8}) {
    test::run_ranks(n_shards, [&](Communicator& shards) {
      const ExchangeTimes candidates = time_candidates(shards, kSight, 4);
      EXPECT_EQ(candidates.seconds.size(), 4U);
      for (const double seconds : candidates.seconds) EXPECT_GE(seconds, 0.0);
      // Of 3 chunks a shard keeps 3, 2, 1 or none, and has room for as many as the first shard
      // does.
      const std::size_t n_offered = n_shards < 3 ? 2 : 1;
      EXPECT_EQ(candidates.n_bytes, n_shards * (n_shards - 1) * 5 * n_offered * 8) << n_shards;

      const ExchangeTimes partials = time_partials(shards, kSight, 3);
      EXPECT_EQ(partials.seconds.size(), 3U);
      // Head h's partials are on shards h, h + 1, h + 2 (mod n), of which its own sends none.
      std::size_t n_sent = 0;
      for (std::size_t head = 0; head < 5; ++head) {
        for (std::size_t i = 0; i < 3; ++i) {
          if ((head + i) % n_shards != partition::part_holding(head, 5, n_shards)) ++n_sent;
        }
      }
      EXPECT_EQ(partials.n_bytes, n_sent * sizeof(kernels::Partial)) << n_shards;
    });
  }
}

}  // namespace
}  // namespace longreach::dist
