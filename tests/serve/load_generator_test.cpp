#include "serve/load_generator.hpp"

#include "kernels/base/error.hpp"
#include "serve/http_server.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace longreach::serve {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

std::string data_line(const nlohmann::json& data) { return "data: " + data.dump() + "\n\n"; }

/// A server whose answers have as many chunks as tokens were asked for.
class LoadGeneratorTest : public testing::Test {
 protected:
  LoadGeneratorTest() : server_("127.0.0.1", 0, {}) {
    server_.start(
        {.admit = [](const HttpRequest&) { return std::nullopt; },
         .handle = [this](HttpRequest request,
                          std::shared_ptr<HttpReply> reply) { handle(request, reply); },
         .error_body = [](unsigned, std::string_view message) { return std::string(message); },
         .log = [](const AccessRecord&) {}});
    const std::string url = server_.url();
    peer_ = {"127.0.0.1", static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)))};
    load_ = {.n_requests = 8,
             .n_prompt = 4,
             .n_generated = 3,
             .vocab_size = 100,
             .request_rate = std::numeric_limits<double>::infinity()};
  }
  ~LoadGeneratorTest() override { server_.stop(std::chrono::milliseconds(0)); }

  void handle(const HttpRequest& request, const std::shared_ptr<HttpReply>& reply) {
    if (request.method == "GET") {
      const bool knows = request.path == "/known";
      return reply->send({knows ? 200U : 404U, "text/plain", request.authorization});
    }
    const nlohmann::json body = nlohmann::json::parse(request.body);
    {
      const std::lock_guard lock(mutex_);
      prompts_.push_back(body.at("prompt"));
    }
    reply->on_gone([this] { ++n_gone_; });
    reply->begin_stream("text/event-stream", ": wait\n\n");
    const auto n = body.at("max_tokens").get<std::size_t>();
    for (std::size_t i = 0; i < n; ++i) reply->write(data_line({{"choices", {{{"text", "x"}}}}}));
    if (never_ends_) return kept_.push_back(reply);
    reply->write(data_line(
        {{"choices", nlohmann::json::array()},
         {"usage", {{"prompt_tokens", body.at("prompt").size()}, {"completion_tokens", n}}}}));
    reply->write("data: [DONE]\n\n");
    reply->end();
  }

  /// Runs the load to its end, or as long as `goes_on` says.
  LoadResult run(const std::function<bool(const LoadProgress&)>& goes_on) {
    HttpClient client(peer_);
    const auto latest = std::chrono::steady_clock::now() + kPatience;
    return run_load(client, load_, [&](const LoadProgress& progress) {
      return std::chrono::steady_clock::now() < latest && goes_on(progress);
    });
  }
  LoadResult run() {
    return run([](const LoadProgress&) { return true; });
  }

  /// Those that came since the last call, in order of their tokens.
  std::vector<std::vector<int>> take_prompts() {
    const std::lock_guard lock(mutex_);
    std::ranges::sort(prompts_);
    return std::exchange(prompts_, {});
  }

  HttpPeer peer_;
  Load load_;
  std::mutex mutex_;
  std::vector<std::vector<int>> prompts_;
  std::atomic<std::size_t> n_gone_ = 0;
  std::atomic<bool> never_ends_ = false;
  std::vector<std::shared_ptr<HttpReply>> kept_;
  HttpServer server_;
};

TEST_F(LoadGeneratorTest, AsksAllAndCountsWhatComes) {
  for (const std::size_t max_running : {0, 1, 3, 100}) {
    for (const double rate : {load_.request_rate, 5000.0}) {
      load_.max_running = max_running;
      load_.request_rate = rate;
      const LoadResult result = run();
      ASSERT_EQ(result.answers.size(), 8U) << result.first_failure;
      EXPECT_EQ(result.n_failed + result.n_abandoned, 0U);
      for (const AnswerTimes& answer : result.answers) {
        EXPECT_EQ(answer.n_prompt, 4U);
        EXPECT_EQ(answer.n_generated, 3U);
        EXPECT_GT(answer.first, 0);
        EXPECT_LE(answer.first, answer.last);
        EXPECT_LE(answer.last, result.seconds);
        EXPECT_EQ(answer.intervals.size(), 2U);
      }
    }
  }
}

TEST_F(LoadGeneratorTest, TheSeedDecidesThePrompts) {
  run();
  const auto first = take_prompts();
  load_.max_running = 1;
  run();
  EXPECT_EQ(take_prompts(), first);
  load_.seed = 1;
  load_.n_prefix = 6;
  run();
  const auto others = take_prompts();
  ASSERT_EQ(others.size(), 8U);
  for (const auto& prompt : others) {
    ASSERT_EQ(prompt.size(), 10U);
    EXPECT_TRUE(std::equal(prompt.begin(), prompt.begin() + 6, others[0].begin()));
    for (const int token : prompt) EXPECT_TRUE(token >= 1 && token < 100) << token;
  }
}

TEST_F(LoadGeneratorTest, ClientsLeaveBeforeTheEnd) {
  never_ends_ = true;
  load_.share_abandoned = 1;
  load_.max_running = 2;
  const LoadResult result = run();
  EXPECT_EQ(result.n_abandoned, 8U) << result.first_failure;
  EXPECT_TRUE(result.answers.empty());
  const auto latest = std::chrono::steady_clock::now() + kPatience;
  while (n_gone_ < 8 && std::chrono::steady_clock::now() < latest) std::this_thread::yield();
  EXPECT_EQ(n_gone_, 8U);
}

TEST_F(LoadGeneratorTest, ARunThatIsLeftLeavesItsRequests) {
  never_ends_ = true;
  load_.max_running = 3;
  const LoadResult result = run([](const LoadProgress& progress) { return progress.n_chunks < 9; });
  EXPECT_TRUE(result.answers.empty());
  EXPECT_EQ(result.n_failed + result.n_abandoned, 0U);
}

TEST_F(LoadGeneratorTest, WhatIsNotThereFails) {
  HttpPeer nobody = peer_;
  {
    HttpServer gone("127.0.0.1", 0, {});
    const std::string url = gone.url();
    nobody.port = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  HttpClient client(nobody);
  const LoadResult result = run_load(client, load_, [](const LoadProgress&) { return true; });
  EXPECT_EQ(result.n_failed, 8U);
  EXPECT_NE(result.first_failure.find("cannot connect"), std::string::npos);
  EXPECT_THROW(HttpClient(HttpPeer{"no.such.host.invalid", 80}), base::InputError);
}

TEST_F(LoadGeneratorTest, AGetIsWaitedFor) {
  peer_.key = "K";
  HttpClient client(peer_);
  const auto always = [] { return true; };
  const HttpEnd known = client.get("/known", always);
  EXPECT_EQ(known.status, 200U);
  EXPECT_EQ(known.body, "Bearer K");
  EXPECT_EQ(client.get("/unknown", always).status, 404U);
  const HttpEnd stopped = client.get("/known", [] { return false; });
  EXPECT_EQ(stopped.status, 0U);
  EXPECT_EQ(client.get("/known", always).status, 200U);
}

TEST_F(LoadGeneratorTest, UrlsOfPeers) {
  EXPECT_EQ((HttpPeer{"host", 80}).url(), "http://host:80");
  EXPECT_EQ((HttpPeer{"::1", 8080}).url(), "http://[::1]:8080");
}

}  // namespace
}  // namespace longreach::serve
