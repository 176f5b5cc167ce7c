#include "launch/commands/bench_serve_result.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace longreach::launch {
namespace {

nlohmann::json result_of(const BenchServeOptions& options, serve::LoadResult load) {
  const std::string line = json_line({options, "M", std::move(load)});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  return nlohmann::json::parse(line);
}

TEST(BenchServeResult, FiguresAreThoseOfAllAnswers) {
  serve::LoadResult load;
  load.seconds = 2;
  load.n_abandoned = 3;
  load.n_failed = 4;
  load.answers = {{10, 3, 0.1, 0.5, {0.1, 0.3}}, {20, 1, 0.3, 0.3, {}}, {30, 2, 0.2, 0.3, {0.1}}};
  BenchServeOptions options;
  options.n_prompts = 10;
  options.max_concurrency = 5;
  const nlohmann::json json = result_of(options, load);
  EXPECT_EQ(json["completed"], 3);
  EXPECT_EQ(json["failed"], 4);
  EXPECT_EQ(json["abandoned"], 3);
  EXPECT_EQ(json["total_input_tokens"], 60);
  EXPECT_EQ(json["total_output_tokens"], 6);
  EXPECT_EQ(json["request_throughput"], 1.5);
  EXPECT_EQ(json["output_throughput"], 3);
  EXPECT_EQ(json["total_token_throughput"], 33);
  EXPECT_EQ(json["request_rate"], "inf");
  EXPECT_EQ(json["max_concurrency"], 5);
  const auto near = [&](const char* name, double expected) {
    EXPECT_NEAR(json[name].get<double>(), expected, 1e-9) << name;
  };
  near("mean_ttft_ms", 200);
  near("median_ttft_ms", 200);
  near("p50_ttft_ms", 200);
  near("p99_ttft_ms", 300);
  near("std_ttft_ms", std::sqrt(20000.0 / 3));
  near("mean_tpot_ms", 150);  // 200 and 100: one token has none
  near("median_tpot_ms", 150);
  near("p99_tpot_ms", 200);
  near("mean_itl_ms", 500.0 / 3);
  near("median_itl_ms", 100);
  near("mean_e2el_ms", 1100.0 / 3);
  near("p99_e2el_ms", 500);
  const std::string table = table_text({options, "M", load});
  EXPECT_NE(table.find("3 of 10 requests completed in 2.00 s, 4 failed, 3 abandoned"),
            std::string::npos);
  EXPECT_NE(table.find("time to first token (ttft)      200.00    200.00    300.00     81.65"),
            std::string::npos);
}

TEST(BenchServeResult, WhatThereIsNotIsNull) {
  serve::LoadResult load;
  load.seconds = 1;
  BenchServeOptions options;
  options.request_rate = 2.5;
  const nlohmann::json json = result_of(options, load);
  EXPECT_EQ(json["request_rate"], 2.5);
  for (const char* const name : {"max_concurrency", "mean_ttft_ms", "median_tpot_ms", "std_itl_ms",
                                 "p50_e2el_ms", "p99_e2el_ms"}) {
    EXPECT_TRUE(json.contains(name) && json[name].is_null()) << name;
  }
  EXPECT_NE(table_text({options, {}, load}).find("(ttft)           -"), std::string::npos);
}

}  // namespace
}  // namespace longreach::launch
