#include "serve/streamed_answer.hpp"

#include "kernels/base/error.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {
namespace {

std::string sse(std::string_view data) { return "data: " + std::string(data) + "\n\n"; }

std::string chunk_of(std::string_view text, std::string_view finish_reason = "null") {
  return sse(R"({"choices":[{"index":0,"text":")" + std::string(text) + R"(","finish_reason":)" +
             std::string(finish_reason) + "}]}");
}

std::string usage_of(int n_prompt, int n_generated) {
  return sse(R"({"choices":[],"usage":{"prompt_tokens":)" + std::to_string(n_prompt) +
             R"(,"completion_tokens":)" + std::to_string(n_generated) + "}}");
}

/// An answer whose piece i comes after i + 1 seconds.
StreamedAnswer answer_of(const std::vector<std::string>& pieces) {
  StreamedAnswer answer;
  double seconds = 0;
  for (const std::string& piece : pieces) answer.push(piece, ++seconds);
  return answer;
}

/// What is wrong with an answer.
std::string fault_of(const std::vector<std::string>& pieces) {
  try {
    const AnswerTimes times = answer_of(pieces).times();
    ADD_FAILURE() << "accepted, with " << times.n_generated << " tokens";
  } catch (const base::InputError& error) {
    return error.what();
  }
  return {};
}

TEST(StreamedAnswer, TimesAreThoseOfChunksAndCountsThoseOfTheUsage) {
  const StreamedAnswer answer =
      answer_of({": reading\n\n", chunk_of("a"), chunk_of("b"), chunk_of("c", "\"length\""),
                 usage_of(7, 3), sse("[DONE]")});
  EXPECT_TRUE(answer.is_complete());
  EXPECT_EQ(answer.n_chunks(), 3U);
  const AnswerTimes times = answer.times();
  EXPECT_EQ(times.n_prompt, 7U);
  EXPECT_EQ(times.n_generated, 3U);
  EXPECT_EQ(times.first, 2);
  EXPECT_EQ(times.last, 4);
  EXPECT_EQ(times.intervals, (std::vector<double>{1, 1}));
  EXPECT_EQ(times.per_token(), 1);
}

TEST(StreamedAnswer, AChunkThatOnlyEndsTheTextIsNoToken) {
  const AnswerTimes times = answer_of({chunk_of("a"), chunk_of(""), chunk_of("", "\"length\""),
                                       usage_of(1, 2), sse("[DONE]")})
                                .times();
  EXPECT_EQ(times.intervals, (std::vector<double>{1}));
  EXPECT_EQ(times.last, 3);
}

TEST(StreamedAnswer, NoMoreIntervalsThanTokensAllow) {
  const AnswerTimes times = answer_of({chunk_of("a"), chunk_of("b"), chunk_of("rest", "\"length\""),
                                       usage_of(1, 2), sse("[DONE]")})
                                .times();
  EXPECT_EQ(times.intervals, (std::vector<double>{1}));
  EXPECT_EQ(times.per_token(), 2);
}

TEST(StreamedAnswer, TokensWithoutTextHaveTheTimeOfTheEnd) {
  const AnswerTimes times =
      answer_of({": x\n\n", chunk_of("", "\"length\""), usage_of(1, 5), sse("[DONE]")}).times();
  EXPECT_EQ(times.first, 2);
  EXPECT_EQ(times.last, 2);
  EXPECT_TRUE(times.intervals.empty());
}

TEST(StreamedAnswer, OneTokenHasNoTimePerToken) {
  const AnswerTimes times =
      answer_of({chunk_of("a", "\"length\""), usage_of(1, 1), sse("[DONE]")}).times();
  EXPECT_FALSE(times.per_token());
}

TEST(StreamedAnswer, UsageMayComeWithTheLastChunkOrWithAll) {
  const std::string both =
      R"({"choices":[{"text":"a"}],"usage":{"prompt_tokens":1,"completion_tokens":1}})";
  EXPECT_EQ(answer_of({sse(both), sse("[DONE]")}).times().n_generated, 1U);
  const std::string none = R"({"choices":[{"text":"a"}],"usage":null})";
  EXPECT_EQ(answer_of({sse(none), usage_of(2, 1), sse("[DONE]")}).times().n_prompt, 2U);
}

TEST(StreamedAnswer, FaultsAreNamed) {
  const std::string done = sse("[DONE]");
  EXPECT_NE(fault_of({}).find("[DONE]"), std::string::npos);
  EXPECT_NE(fault_of({chunk_of("a"), usage_of(1, 1)}).find("[DONE]"), std::string::npos);
  EXPECT_NE(fault_of({chunk_of("a"), done}).find("usage"), std::string::npos);
  EXPECT_NE(fault_of({chunk_of("", "\"stop\""), usage_of(1, 0), done}).find("token"),
            std::string::npos);
  EXPECT_NE(fault_of({usage_of(1, 1), done}).find("token"), std::string::npos);
  EXPECT_NE(fault_of({sse("{")}).find("chunk"), std::string::npos);
  EXPECT_NE(fault_of({sse(R"({"error":{"message":"out\nof luck"}})")}).find("out of luck"),
            std::string::npos);
  for (const char* const odd :
       {"1", "[]", "{}", R"({"choices":1})", R"({"choices":[]})", R"({"choices":[1],"usage":[]})",
        R"({"choices":[{"text":1}]})", R"({"usage":{"completion_tokens":-1}})"}) {
    EXPECT_NE(fault_of({sse(odd), done}), "") << odd;
  }
}

TEST(StreamedAnswer, RefusalsHaveTheServersMessage) {
  EXPECT_EQ(refusal_text(429, R"({"error":{"message":"too many","code":null}})"),
            "status 429: too many");
  EXPECT_EQ(refusal_text(500, R"({"error":"bad\u001b[0m"})"), "status 500: bad [0m");
  for (const char* const body : {"", "<html>", "[]", "{}", R"({"error":1})"}) {
    EXPECT_EQ(refusal_text(502, body), "status 502") << body;
  }
}

}  // namespace
}  // namespace longreach::serve
