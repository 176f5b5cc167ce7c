#include "serve/openai_response.hpp"

#include "tests/serve/served.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace longreach::serve {
namespace {

using generation::Finished;
using generation::FinishReason;
using generation::Logprobs;
using generation::NewToken;
using generation::PromptLogprobs;
using generation::PromptProgress;
using nlohmann::json;

CompletionResponse response(CompletionRequest request) {
  return {std::move(request), byte_model(), "id-1", 1234};
}

/// The objects of a stream, whose last event must say that it is done.
std::vector<json> chunks(const std::string& stream) {
  std::vector<json> found;
  std::istringstream lines(stream);
  for (std::string line, empty; std::getline(lines, line) && std::getline(lines, empty);) {
    EXPECT_EQ(empty, "");
    EXPECT_EQ(line.substr(0, 6), "data: ");
    if (line == "data: [DONE]") {
      EXPECT_TRUE(lines.peek() == EOF);
      return found;
    }
    found.push_back(json::parse(line.substr(6)));
  }
  ADD_FAILURE() << "not done: " << stream;
  return found;
}

Logprobs logprobs(base::TokenId own, double value, std::vector<generation::TokenLogprob> top) {
  return {{own, value}, std::move(top)};
}

TEST(OpenaiResponse, LogprobsOfALongPromptAreSentAsTheyCome) {
  const std::size_t n = 10'000;
  auto answer = response({.prompts = {std::vector<base::TokenId>(n, 97)},
                          .n_top_logprobs = 1,
                          .echo = true,
                          .streams = true});
  std::string stream;
  std::size_t longest = 0;
  const auto take = [&](const generation::Event& event) {
    const std::string more = answer.take(0, event, 0);
    longest = std::max(longest, more.size());
    stream += more;
  };
  for (std::size_t i = 1; i < n; ++i) take(PromptLogprobs{i, logprobs(97, -1, {{97, -1}})});
  take(NewToken{98, "b", logprobs(98, -1, {{98, -1}})});
  take(Finished{});
  EXPECT_LT(longest, 200'000U);
  std::string text;
  json tokens = json::array();
  for (const json& chunk : chunks(stream)) {
    const json& choice = chunk["choices"][0];
    text += choice["text"].get_ref<const std::string&>();
    for (const json& token : choice["logprobs"]["tokens"]) tokens.push_back(token);
  }
  EXPECT_EQ(text, std::string(n, 'a') + "b");
  EXPECT_EQ(tokens.size(), n + 1);
}

TEST(OpenaiResponse, TextsOfPromptsInOrder) {
  auto answer = response({.prompts = {{1, 2, 3}, {4}}, .n = 2});
  EXPECT_EQ(answer.take(3, PromptProgress{1, 0}, 0), "");
  EXPECT_EQ(answer.take(3, NewToken{100, "d", {}}, 0), "");
  EXPECT_EQ(answer.take(3, Finished{.reason = FinishReason::kEndToken, .end_token = 0}, 0), "");
  EXPECT_EQ(answer.take(0, PromptProgress{3, 2}, 0), "");
  EXPECT_EQ(answer.take(1, PromptProgress{3, 3}, 0), "");
  for (const std::size_t i : {0, 1, 2}) {
    EXPECT_EQ(answer.take(i, NewToken{97, "a\"", {}}, 0), "");
  }
  EXPECT_EQ(answer.take(2, Finished{}, 0), "");
  EXPECT_EQ(answer.take(0, Finished{.text = "!"}, 0), "");
  EXPECT_FALSE(answer.is_complete());
  const json whole = json::parse(answer.take(1, Finished{}, 0));
  EXPECT_TRUE(answer.is_complete());
  EXPECT_EQ(whole, json::parse(R"({"id":"id-1","object":"text_completion","created":1234,
    "model":"tiny","choices":[
      {"index":0,"text":"a\"!","logprobs":null,"finish_reason":"length"},
      {"index":1,"text":"a\"","logprobs":null,"finish_reason":"length"},
      {"index":2,"text":"a\"","logprobs":null,"finish_reason":"length"},
      {"index":3,"text":"d","logprobs":null,"finish_reason":"stop"}],
    "usage":{"prompt_tokens":4,"completion_tokens":4,"total_tokens":8,
      "prompt_tokens_details":{"cached_tokens":2}}})"));
}

TEST(OpenaiResponse, LogprobsOfAnEchoedPrompt) {
  auto answer = response({.prompts = {{97, 195, 164}}, .n_top_logprobs = 1, .echo = true});
  answer.take(0, PromptLogprobs{1, logprobs(195, -1.5, {{98, -0.25}})}, 0);
  answer.take(0, PromptLogprobs{2, logprobs(164, -0.5, {{164, -0.5}})}, 0);
  answer.take(0, PromptProgress{3, 0}, 0);
  answer.take(0, NewToken{99, "c", logprobs(99, -2, {{0, -0.125}})}, 0);
  const json whole =
      json::parse(answer.take(0,
                              Finished{.reason = FinishReason::kEndToken,
                                       .end_token = 0,
                                       .end_logprobs = logprobs(0, -0.75, {{0, -0.75}})},
                              0));
  EXPECT_EQ(whole["choices"][0]["text"],
            "a\xc3\xa4"
            "c");
  EXPECT_EQ(whole["choices"][0]["logprobs"], json::parse(R"({
    "tokens":["a","bytes:\\xc3","bytes:\\xa4","c","<|endoftext|>"],
    "token_logprobs":[null,-1.5,-0.5,-2.0,-0.75],
    "top_logprobs":[null,{"b":-0.25,"bytes:\\xc3":-1.5},{"bytes:\\xa4":-0.5},
                    {"<|endoftext|>":-0.125,"c":-2.0},{"<|endoftext|>":-0.75}],
    "text_offset":[0,1,2,2,3]})"));
  EXPECT_EQ(whole["usage"]["completion_tokens"], 1);
}

TEST(OpenaiResponse, AStreamOfTexts) {
  auto answer = response({.prompts = {{1}}, .n = 2, .streams = true, .with_usage = true});
  std::string stream = answer.take(0, PromptProgress{1, 0}, 0);
  EXPECT_EQ(stream, "");
  stream += answer.take(0, NewToken{97, "a", {}}, 0);
  EXPECT_NE(stream, "");
  stream += answer.take(1, NewToken{195, "", {}}, 0);
  stream += answer.take(1, NewToken{164, "\xc3\xa4", {}}, 0);
  stream += answer.take(0, Finished{}, 0);
  stream += answer.take(1, Finished{.reason = FinishReason::kStopString}, 0);
  const auto found = chunks(stream);
  ASSERT_EQ(found.size(), 5U);
  EXPECT_EQ(found[0]["choices"][0]["text"], "a");
  EXPECT_EQ(found[0]["choices"][0]["finish_reason"], nullptr);
  EXPECT_EQ(found[0]["usage"], nullptr);
  EXPECT_EQ(found[1]["choices"][0]["index"], 1);
  EXPECT_EQ(found[1]["choices"][0]["text"], "\xc3\xa4");
  EXPECT_EQ(found[2]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(found[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(found[4]["choices"], json::array());
  EXPECT_EQ(found[4]["usage"]["completion_tokens"], 3);
}

TEST(OpenaiResponse, AStreamOfAChat) {
  auto answer = response(
      {.endpoint = Endpoint::kChat, .prompts = {{1}}, .n_top_logprobs = 1, .streams = true});
  std::string stream = answer.take(0, NewToken{32, " ", logprobs(32, -1, {})}, 0);
  EXPECT_EQ(stream, "");  // the answer begins behind it
  stream += answer.take(0, NewToken{72, "H", logprobs(72, -2, {{73, -1.5}})}, 0);
  stream += answer.take(0, NewToken{32, " ", logprobs(32, -3, {})}, 0);
  stream += answer.take(0, Finished{.reason = FinishReason::kEndToken}, 0);
  const auto found = chunks(stream);
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(found[0]["choices"][0]["delta"], json({{"role", "assistant"}, {"content", "H"}}));
  EXPECT_EQ(found[0]["choices"][0]["logprobs"]["content"], json::parse(R"([
    {"token":" ","logprob":-1.0,"bytes":[32],"top_logprobs":[]},
    {"token":"H","logprob":-2.0,"bytes":[72],
     "top_logprobs":[{"token":"I","logprob":-1.5,"bytes":[73]}]}])"));
  EXPECT_EQ(found[1]["choices"][0]["delta"], json({{"content", " "}}));
  EXPECT_EQ(found[2]["choices"][0]["finish_reason"], "stop");
}

TEST(OpenaiResponse, ProgressIsReportedOnRequest) {
  auto answer = response({.prompts = {{1, 2, 3}}, .streams = true, .with_progress = true});
  std::string stream = answer.take(0, PromptProgress{2, 1}, 0.5);
  stream += answer.take(0, Finished{}, 1);
  const auto found = chunks(stream);
  EXPECT_EQ(found[0]["choices"], json::array());
  EXPECT_EQ(found[0]["longreach"]["progress"],
            json({{"index", 0}, {"total", 3}, {"cached", 1}, {"processed", 2}, {"ms", 500}}));
}

TEST(OpenaiResponse, AFailureIsReported) {
  auto answer = response({.prompts = {{1}}, .streams = true});
  const auto found =
      chunks(answer.take(0, Finished{.reason = FinishReason::kFailed, .error = "no luck"}, 0));
  EXPECT_EQ(found[0]["error"]["message"], "no luck");
  EXPECT_EQ(answer.failure(), "no luck");
}

TEST(OpenaiResponse, DifferentTokensHaveDifferentNames) {
  std::set<std::string> names;
  for (base::TokenId id = 0; id < 256; ++id) names.insert(token_name(id, byte_model()));
  EXPECT_EQ(names.size(), 256U);
}

}  // namespace
}  // namespace longreach::serve
