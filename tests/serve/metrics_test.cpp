#include "serve/metrics.hpp"

#include <gtest/gtest.h>

#include <string>

namespace longreach::serve {
namespace {

TEST(Histogram, BucketsAreCumulative) {
  Histogram histogram({1, 2});
  for (const double value : {0.5, 1.0, 1.5, 9.0}) histogram.observe(value);
  std::string text;
  histogram.write(text, "x_seconds", "Of x");
  EXPECT_EQ(text,
            "# HELP longreach_x_seconds Of x\n"
            "# TYPE longreach_x_seconds histogram\n"
            "longreach_x_seconds_bucket{le=\"1\"} 2\n"
            "longreach_x_seconds_bucket{le=\"2\"} 3\n"
            "longreach_x_seconds_bucket{le=\"+Inf\"} 4\n"
            "longreach_x_seconds_sum 12\n"
            "longreach_x_seconds_count 4\n");
}

TEST(Metrics, CountsWhatEnded) {
  Metrics metrics;
  metrics.ended({"stop", 10, 4, 3});
  metrics.ended({"length", 1, 0, 2});
  metrics.ended({"stop", 1, 0, 0});
  metrics.answered(200);
  metrics.first_token(0.2);
  const std::string text = metrics.text({2, 5, 700, 90, {0.25, 1}, {{30, 40, 2}}}, "1.0", "a\"b");
  for (const char* const line :
       {"longreach_requests_running 2\n", "longreach_requests_waiting 5\n",
        "longreach_cache_bytes{use=\"running\"} 700\n",
        "longreach_cache_bytes{use=\"prefixes\"} 90\n",
        "longreach_rank_busy_ratio{rank=\"0\"} 0.250\n",
        "longreach_rank_busy_ratio{rank=\"1\"} 1.000\n", "longreach_contexts_disk_bytes 30\n",
        "longreach_contexts_disk_budget_bytes 40\n", "longreach_contexts_evicted_total 2\n",
        "longreach_requests_total{finish_reason=\"stop\"} 2\n",
        "longreach_requests_total{finish_reason=\"length\"} 1\n",
        "longreach_prompt_tokens_total 12\n", "longreach_cached_tokens_total 4\n",
        "longreach_generation_tokens_total 5\n",
        "longreach_http_responses_total{status=\"200\"} 1\n",
        "longreach_time_to_first_token_seconds_count 1\n",
        "longreach_build_info{version=\"1.0\",model=\"a\\\"b\"} 1\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

}  // namespace
}  // namespace longreach::serve
