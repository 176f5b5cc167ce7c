#include "dist/engine/busy_reports.hpp"

#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace longreach::dist {
namespace {

using Clock = BusyReports::Clock;

TEST(BusyReports, TheLeaderLearnsWhoComputes) {
  test::run_ranks(4, [](Communicator& ranks) {
    // Ranks 0 and 1 compute, 2 does nothing; of 3 nothing is recorded.
    Recorder recorder(ranks.rank() == 3 ? Recording::kNothing : Recording::kTotals);
    BusyReports busy(ranks, recorder, Clock::duration::zero());
    const auto step = [&] {
      if (ranks.rank() != 2) {
        const auto reading = recorder.span(Activity::kRead);
      }
      busy.after_step();
    };
    const Clock::time_point latest = Clock::now() + std::chrono::seconds(20);
    if (ranks.rank() == 0) {
      EXPECT_EQ(busy.shares(), std::vector<double>(4));
      while (busy.shares()[1] == 0 && Clock::now() < latest) step();
      for (std::size_t rank = 0; rank < 4; ++rank) {
        EXPECT_EQ(busy.shares()[rank] > 0, rank < 2) << rank;
        EXPECT_LE(busy.shares()[rank], 1);
      }
    } else {
      for (int i = 0; i < 100; ++i) step();  // most reports are left out, as nobody waits
    }
    busy.finish();
  });
}

TEST(BusyReports, APauseCountsForNothing) {
  Recorder recorder(Recording::kTotals);
  test::run_ranks(1, [&](Communicator& alone) {
    BusyReports busy(alone, recorder, Clock::duration::zero());
    { const auto reading = recorder.span(Activity::kRead); }
    busy.begin();
    busy.after_step();
    EXPECT_EQ(busy.shares(), std::vector<double>{0});
    busy.finish();
  });
}

TEST(BusyReports, ExchangesAreNotComputing) {
  Recorder recorder(Recording::kTotals);
  test::run_ranks(1, [&](Communicator& alone) {
    BusyReports busy(alone, recorder, Clock::duration::zero());
    {
      const auto reading = recorder.span(Activity::kRead);
      const auto exchange = recorder.span(Activity::kExchange);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    busy.after_step();
    EXPECT_LT(busy.shares()[0], 0.5);
    busy.finish();
  });
}

}  // namespace
}  // namespace longreach::dist
