#include "launch/statistics.hpp"

#include "launch/progress.hpp"

#include <gtest/gtest.h>

namespace longreach::launch {
namespace {

TEST(StatisticsText, TellsRates) {
  const RunStatistics statistics{.n_prompt = 1000,
                                 .share_read = 1,
                                 .prompt_seconds = 0.5,
                                 .n_generated = 11,
                                 .n_decode_calls = 10,
                                 .decode_seconds = 0.1,
                                 .bytes_per_token = 50'000'000,
                                 .seed = 7,
                                 .stop_reason = "end token",
                                 .logits_hash = "0123456789abcdef0123456789abcdef"};
  EXPECT_EQ(statistics_text(statistics),
            "prompt 1000 tokens, 2000.0 tokens/s; generated 11 tokens, 100.0 tokens/s, "
            "10.000 ms/token, 5.00 GB/s; seed 7; stopped by end token; logits 0123456789abcdef");
}

TEST(StatisticsText, LeavesOutRatesOfWhatDidNotHappen) {
  const RunStatistics statistics{.n_prompt = 1000,
                                 .share_read = 0.25,
                                 .prompt_seconds = 0.5,
                                 .n_generated = 0,
                                 .n_decode_calls = 0,
                                 .decode_seconds = 0,
                                 .bytes_per_token = 0,
                                 .seed = 7,
                                 .stop_reason = "signal",
                                 .logits_hash = "00"};
  EXPECT_EQ(statistics_text(statistics),
            "prompt 250 of 1000 tokens, 500.0 tokens/s; generated 0 tokens; seed 7; stopped by "
            "signal; logits 00");
}

TEST(ProgressText, TellsShareSpeedAndTimeLeft) {
  EXPECT_EQ(progress_text("reading", 0.25, 1000, 10),
            "reading  25%  250 of 1000 tokens, 25 tokens/s, 0:30 left");
  EXPECT_EQ(progress_text("filling", 0.001, 1'000'000, 10),
            "filling   0%  1000 of 1000000 tokens, 100 tokens/s, 2:46:30 left");
  EXPECT_EQ(progress_text("reading", 0, 1000, 10), "reading   0%  0 of 1000 tokens");
}

}  // namespace
}  // namespace longreach::launch
