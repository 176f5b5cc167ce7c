#include "serve/openai_request.hpp"

#include "tests/serve/served.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace longreach::serve {
namespace {

using nlohmann::json;
using Prompts = std::vector<std::vector<base::TokenId>>;

CompletionRequest completion(const json& body) {
  return read_completion(Endpoint::kCompletions, body.dump(), byte_model(), 7);
}
CompletionRequest chat(const json& body) {
  return read_completion(Endpoint::kChat, body.dump(), byte_model(), 7);
}

std::string text_of(const std::vector<base::TokenId>& tokens) {
  return {tokens.begin(), tokens.end()};
}

/// The error that a body is refused with.
ApiError refusal(Endpoint endpoint, const std::string& body) {
  try {
    read_completion(endpoint, body, byte_model(), 7);
  } catch (const ApiError& error) {
    return error;
  }
  ADD_FAILURE() << "accepted " << body;
  return {0, ""};
}
ApiError refusal(json body) {
  if (!body.contains("prompt")) body["prompt"] = "x";
  return refusal(Endpoint::kCompletions, body.dump());
}
ApiError chat_refusal(json body) {
  if (!body.contains("messages")) body["messages"] = {{{"role", "user"}, {"content", "x"}}};
  return refusal(Endpoint::kChat, body.dump());
}

TEST(OpenaiRequest, AllFormsOfPrompts) {
  EXPECT_EQ(completion({{"prompt", "ab"}}).prompts, (Prompts{{97, 98}}));
  EXPECT_EQ(completion({{"prompt", {"a", "b"}}}).prompts, (Prompts{{97}, {98}}));
  EXPECT_EQ(completion({{"prompt", {1, 2}}}).prompts, (Prompts{{1, 2}}));
  EXPECT_EQ(completion({{"prompt", {{1, 2}, {3}}}}).prompts, (Prompts{{1, 2}, {3}}));
  for (const json& bad : {json(), json(1), json(""), json::array(), json({1, -1}), json({1, 256}),
                          json({1, "a"}), json({"a", 1}), json({1.5}), json({json::array()}),
                          json({{1, 2}, json::array()}), json(json::object())}) {
    const ApiError error = refusal({{"prompt", bad}});
    EXPECT_EQ(error.status(), 400U) << bad;
    EXPECT_EQ(error.field(), "prompt") << bad;
  }
}

TEST(OpenaiRequest, AbsentFieldsHaveTheInterfacesDefaults) {
  const CompletionRequest request = completion({{"prompt", "ab"}, {"stop", nullptr}});
  EXPECT_EQ(request.n, 1U);
  EXPECT_EQ(request.n_new, 16U);
  EXPECT_EQ(request.sampler.temperature, 1);
  EXPECT_EQ(request.sampler.top_p, 1);
  EXPECT_EQ(request.sampler.presence, 0);
  EXPECT_EQ(request.sampler.frequency, 0);
  EXPECT_EQ(request.sampler.decay, 1);
  EXPECT_EQ(request.sampler.seed, 7U);
  EXPECT_FALSE(request.n_top_logprobs);
  EXPECT_FALSE(request.echo || request.streams || request.with_usage);
  EXPECT_TRUE(request.stop_strings.empty());
  EXPECT_TRUE(request.sampler.banned.empty());
}

TEST(OpenaiRequest, ReadsEveryField) {
  const CompletionRequest request = completion({{"prompt", "ab"},
                                                {"model", "tiny"},
                                                {"n", 2},
                                                {"best_of", 2},
                                                {"max_tokens", 5},
                                                {"temperature", 0.5},
                                                {"top_p", 0.25},
                                                {"presence_penalty", -1},
                                                {"frequency_penalty", 1.5},
                                                {"seed", -1},
                                                {"stop", {"x", "yz"}},
                                                {"logprobs", 3},
                                                {"echo", true},
                                                {"stream", true},
                                                {"stream_options", {{"include_usage", true}}},
                                                {"logit_bias", {{"97", -100}, {"3", 2.5}}},
                                                {"user", "somebody"},
                                                {"ignore_eos", true},
                                                {"longreach", {{"progress", true}}}});
  EXPECT_EQ(request.n, 2U);
  EXPECT_EQ(request.n_new, 5U);
  EXPECT_EQ(request.sampler.temperature, 0.5);
  EXPECT_EQ(request.sampler.top_p, 0.25);
  EXPECT_EQ(request.sampler.presence, -1);
  EXPECT_EQ(request.sampler.frequency, 1.5);
  EXPECT_EQ(request.sampler.seed, ~0ULL);
  EXPECT_EQ(request.stop_strings, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(request.n_top_logprobs, 3U);
  EXPECT_TRUE(request.echo && request.streams && request.with_usage && request.with_progress);
  ASSERT_EQ(request.sampler.bias.size(), 2U);
  EXPECT_EQ(request.sampler.banned, std::vector<base::TokenId>{byte_model().end_token});

  const auto requests = requests_of(request);
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[0].sampler.seed, ~0ULL);
  EXPECT_EQ(requests[1].sampler.seed, 0U);
  EXPECT_EQ(requests[1].prompt_logprobs_from, 1U);
}

TEST(OpenaiRequest, RefusalsNameTheFieldAtFault) {
  const std::vector<json> bad = {{{"n", 0}},
                                 {{"n", 129}},
                                 {{"n", 1.5}},
                                 {{"max_tokens", -1}},
                                 {{"max_tokens", "5"}},
                                 {{"temperature", 2.5}},
                                 {{"temperature", -0.1}},
                                 {{"temperature", "hot"}},
                                 {{"top_p", 1.1}},
                                 {{"presence_penalty", 3}},
                                 {{"frequency_penalty", -3}},
                                 {{"seed", 0.5}},
                                 {{"stop", ""}},
                                 {{"stop", 1}},
                                 {{"stop", {"a", ""}}},
                                 {{"logprobs", 21}},
                                 {{"logprobs", true}},
                                 {{"echo", 1}},
                                 {{"longreach", {{"contxt", "a"}}}},
                                 {{"ignore_eos", 1}},
                                 {{"stream", "yes"}},
                                 {{"stream_options", {{"include_usage", true}}}},
                                 {{"logit_bias", {{"256", 1}}}},
                                 {{"logit_bias", {{"x", 1}}}},
                                 {{"logit_bias", {{"1", 101}}}},
                                 {{"logit_bias", {1}}},
                                 {{"best_of", 2}},
                                 {{"suffix", "end"}},
                                 {{"model", 3}}};
  for (const json& body : bad) {
    const ApiError error = refusal(body);
    EXPECT_EQ(error.status(), 400U) << body;
    EXPECT_EQ(error.field(), body.items().begin().key()) << body << error.what();
  }
  for (const json& body : std::vector<json>{{{"max_completion_tokens", 0}},
                                            {{"top_logprobs", 2}},
                                            {{"logprobs", 2}},
                                            {{"tools", {1}}},
                                            {{"response_format", {{"type", "json_object"}}}},
                                            {{"messages", json::array()}},
                                            {{"messages", "hi"}},
                                            {{"messages", {{{"role", "tool"}}}}},
                                            {{"messages", {1}}}}) {
    EXPECT_EQ(chat_refusal(body).field(), body.items().begin().key()) << body;
  }
  for (const char* const body :
       {"", "[]", "{", "{\"prompt\":\"a\"} x", "\xff", "{\"n\":1,\"n\":2}"}) {
    EXPECT_EQ(refusal(Endpoint::kCompletions, body).status(), 400U) << body;
  }
}

TEST(OpenaiRequest, AnotherModelIsNotFound) {
  const ApiError error = refusal({{"model", "gpt-4"}});
  EXPECT_EQ(error.status(), 404U);
  EXPECT_EQ(error.code(), "model_not_found");
}

TEST(OpenaiRequest, LengthsFillTheContextAndNotMore) {
  const std::string prompt(90, 'x');
  EXPECT_EQ(completion({{"prompt", prompt}, {"max_tokens", 10}}).n_new, 10U);
  EXPECT_EQ(completion({{"prompt", prompt}, {"max_tokens", 0}}).n_new, 0U);
  const ApiError error = refusal({{"prompt", prompt}, {"max_tokens", 11}});
  EXPECT_EQ(error.code(), "context_length_exceeded");
  EXPECT_NE(std::string(error.what()).find("100"), std::string::npos);
  EXPECT_NE(std::string(error.what()).find("101"), std::string::npos);
  EXPECT_EQ(refusal({{"prompt", std::string(101, 'x')}, {"max_tokens", 0}}).code(),
            "context_length_exceeded");
  // What the template needs is "User: \n\nAssistant:", 18 bytes.
  const auto ask = [](std::size_t n) {
    return json{{"messages", {{{"role", "user"}, {"content", std::string(n, 'x')}}}}};
  };
  EXPECT_EQ(chat(ask(2)).n_new, 80U);
  EXPECT_EQ(chat(ask(81)).n_new, 1U);
  EXPECT_EQ(chat_refusal(ask(82)).code(), "context_length_exceeded");
}

TEST(OpenaiRequest, AnAnswerThatIsHeldToItsEndHasASize) {
  ServedModel served = byte_model();
  served.context_tokens = 10'000'000;
  served.has_evidence = true;
  const auto read = [&](json body) {
    body["prompt"] = "x";
    return read_completion(Endpoint::kCompletions, body.dump(), served, 7);
  };
  const auto refused = [&](const json& body) {
    try {
      read(body);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status(), 400U);
      return error.field();
    }
    return std::string("nothing");
  };
  const json large = {{"logprobs", 20}, {"max_tokens", 100'000}, {"n", 8}};
  EXPECT_EQ(refused(large), "logprobs");
  json streamed = large;
  streamed["stream"] = true;
  EXPECT_EQ(read(streamed).n, 8U);
  EXPECT_EQ(read({{"logprobs", 20}, {"max_tokens", 100'000}, {"n", 1}}).n, 1U);
  EXPECT_EQ(read({{"max_tokens", 9'000'000}, {"n", 8}}).n, 8U);  // texts alone are small
  const json passages = {{"evidence", true}};
  EXPECT_EQ(refused({{"longreach", passages}, {"max_tokens", 1'000'000}}), "longreach");
  EXPECT_EQ(read({{"longreach", passages}, {"max_tokens", 10'000}}).n, 1U);
  const std::vector<base::TokenId> prompt(1'000'000, 120);
  const auto echo = [&](std::size_t n_top) {
    return read_completion(Endpoint::kCompletions,
                           json{{"prompt", prompt}, {"echo", true}, {"logprobs", n_top}}.dump(),
                           served, 7);
  };
  EXPECT_EQ(echo(1).prompts[0].size(), prompt.size());
  EXPECT_THROW(echo(20), ApiError);
}

TEST(OpenaiRequest, NoMoreTextsThanTheServerHolds) {
  EXPECT_EQ(completion({{"prompt", {"a", "b"}}, {"n", 4}}).n_texts(), 8U);
  EXPECT_EQ(refusal({{"prompt", {"a", "b", "c"}}, {"n", 3}}).status(), 400U);
}

TEST(OpenaiRequest, ChatsAreOnePrompt) {
  const json part = {{"type", "text"}, {"text", "Hi"}};
  const CompletionRequest request = chat({{"messages",
                                           {{{"role", "developer"}, {"content", "Be brief."}},
                                            {{"role", "user"}, {"content", {part, part}}}}},
                                          {"max_completion_tokens", 3},
                                          {"logprobs", true},
                                          {"stop", "z"}});
  EXPECT_EQ(text_of(request.prompts[0]), "System: Be brief.\n\nUser: HiHi\n\nAssistant:");
  EXPECT_EQ(request.n_new, 3U);
  EXPECT_EQ(request.n_top_logprobs, 0U);
  EXPECT_EQ(request.stop_strings, (std::vector<std::string>{"z", "\n\nUser:"}));
}

TEST(OpenaiRequest, TokenizesAndBack) {
  using Ids = std::vector<base::TokenId>;
  EXPECT_EQ(read_tokenize(R"({"content":"ab"})", byte_model()), (Ids{97, 98}));
  EXPECT_EQ(read_tokenize(R"({"prompt":"ab","add_special_tokens":true})", byte_model()),
            (Ids{97, 98}));
  EXPECT_EQ(read_tokenize(R"({"content":""})", byte_model()), Ids{});
  EXPECT_EQ(read_tokenize(R"({"content":"<|endoftext|>"})", byte_model()), Ids{0});
  EXPECT_THROW(read_tokenize(R"({"content":3})", byte_model()), ApiError);
  EXPECT_EQ(read_tokenize(R"({"content":"<|endoftext|>a<|endoftext|>"})", byte_model()).size(), 15);
  EXPECT_EQ(read_detokenize(R"({"tokens":[0,97,195,164,255]})", byte_model()),
            "<|endoftext|>a\xc3\xa4\xef\xbf\xbd");
  EXPECT_THROW(read_detokenize(R"({"tokens":[256]})", byte_model()), ApiError);
  EXPECT_THROW(read_detokenize(R"({})", byte_model()), ApiError);
}

}  // namespace
}  // namespace longreach::serve
