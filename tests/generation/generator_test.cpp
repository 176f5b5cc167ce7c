#include "generation/generator.hpp"

#include "generation/logprobs.hpp"
#include "kernels/base/output_file.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/thread_grid.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace longreach::generation {
namespace {

using base::TokenId;
using model::AttentionMode;

/// All that came of a request.
struct Result {
  std::vector<TokenId> tokens;
  std::string text;
  std::vector<Logprobs> logprobs;
  std::vector<PromptLogprobs> prompt_logprobs;
  std::vector<std::vector<Passage>> evidence;
  std::size_t n_shared = 0;
  std::optional<Finished> finished;

  void take(const Event& event) {
    EXPECT_FALSE(finished) << "an event after the last one";
    if (const auto* progress = std::get_if<PromptProgress>(&event)) n_shared = progress->n_shared;
    if (const auto* prompt = std::get_if<PromptLogprobs>(&event))
      prompt_logprobs.push_back(*prompt);
    if (const auto* token = std::get_if<NewToken>(&event)) {
      tokens.push_back(token->token);
      text += token->text;
      if (token->logprobs) logprobs.push_back(*token->logprobs);
      evidence.push_back(token->evidence);
    }
    if (const auto* end = std::get_if<Finished>(&event)) {
      finished = *end;
      text += end->text;
    }
  }
};

class GeneratorTest : public ::testing::Test {
 protected:
  /// A prompt that begins with n_common of the golden tokens and goes on in a way of its own.
  Request request(std::size_t n_common, std::size_t n_prompt, TokenId number,
                  std::size_t n_new) const {
    Request request;
    request.prompt.assign(golden_.tokens.begin(),
                          golden_.tokens.begin() + static_cast<std::ptrdiff_t>(n_common));
    while (request.prompt.size() < n_prompt) {
      request.prompt.push_back((7 * number + static_cast<TokenId>(request.prompt.size())) % 250 +
                               1);
    }
    request.n_new = n_new;
    request.sampler.seed = static_cast<std::uint64_t>(number);
    request.hashes_logits = true;
    return request;
  }

  /// Requests of many kinds.
  std::vector<Request> many() const {
    std::vector<Request> requests;
    for (TokenId i = 0; i < 12; ++i) {
      requests.push_back(request(i % 3 == 0 ? 0 : 60, 61 + 17 * i, i, 1 + i * 5 % 13));
      if (i % 4 == 1) requests.back().sampler.temperature = 0;
      if (i % 4 == 2) requests.back().n_top_logprobs = 2;
      if (i % 5 == 3) requests.back().shared_lengths = {40};
    }
    requests[6].n_new = 0;
    requests[6].prompt_logprobs_from = 1;
    requests[9].prompt_logprobs_from = 70;
    return requests;
  }

  /// Runs requests, all submitted before the first step.
  std::vector<Result> run(dist::Engine& engine, const std::vector<Request>& requests,
                          const GeneratorOptions& options) const {
    Generator generator(engine, golden_.config, *bytes_, options);
    std::vector<Result> results(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      generator.submit(requests[i], [&results, i](const Event& event) { results[i].take(event); });
    }
    while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
    n_tokens_read_ = generator.n_tokens_read();
    return results;
  }

  std::vector<Result> each_alone(dist::Engine& engine, const std::vector<Request>& requests) const {
    std::vector<Result> results;
    for (const Request& each : requests) results.push_back(run(engine, {each}, {})[0]);
    return results;
  }

  static void expect_same(const std::vector<Result>& found, const std::vector<Result>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i));
      EXPECT_EQ(found[i].tokens, expected[i].tokens);
      EXPECT_EQ(found[i].text, expected[i].text);
      ASSERT_TRUE(found[i].finished);
      EXPECT_EQ(found[i].finished->reason, expected[i].finished->reason);
      EXPECT_EQ(found[i].finished->logits_sha256, expected[i].finished->logits_sha256);
      EXPECT_EQ(found[i].evidence, expected[i].evidence);
      EXPECT_EQ(found[i].finished->evidence, expected[i].finished->evidence);
      ASSERT_EQ(found[i].logprobs.size(), expected[i].logprobs.size());
      for (std::size_t t = 0; t < found[i].logprobs.size(); ++t) {
        EXPECT_EQ(found[i].logprobs[t].own.logprob, expected[i].logprobs[t].own.logprob);
      }
      ASSERT_EQ(found[i].prompt_logprobs.size(), expected[i].prompt_logprobs.size());
    }
  }

  static GeneratorOptions keeping_prefixes(std::size_t max_running) {
    return {.max_running = max_running,
            .memory_bytes = 1000,
            .sequence_bytes = {1, 0},
            .keeps_prefixes = true};
  }

  test::Golden golden_{300};
  std::unique_ptr<model::Tokenizer> bytes_ = model::open_tokenizer("bytes");
  mutable std::size_t n_tokens_read_ = 0;
};

TEST_F(GeneratorTest, LongStepsOfADeepPromptChangeNothing) {
  const test::Golden golden(4000);
  const auto engine = golden.engine(AttentionMode::kMoba);
  Request request;
  request.prompt = golden.tokens;
  request.n_new = 3;
  request.hashes_logits = true;
  std::vector<Result> results;
  for (const std::optional<double> step_seconds :
       {std::optional<double>(), std::optional(kNoLimit)}) {
    Generator generator(*engine, golden.config, *bytes_, {.step_seconds = step_seconds});
    std::vector<std::size_t> in_steps;
    Result& result = results.emplace_back();
    RequestId id = 0;
    id = generator.submit(request, [&](const Event& event) {
      if (std::holds_alternative<PromptProgress>(event)) {
        in_steps.push_back(generator.rows_in_step(id));
      }
      result.take(event);
    });
    while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
    EXPECT_EQ(in_steps, step_seconds
                            ? std::vector<std::size_t>({512, 2048, 1440})
                            : std::vector<std::size_t>({512, 512, 512, 512, 512, 512, 512, 416}));
  }
  expect_same({results[1]}, {results[0]});
}

TEST_F(GeneratorTest, ARequestGetsWhatItGetsAlone) {
  for (const AttentionMode mode :
       {AttentionMode::kMoba, AttentionMode::kFull, AttentionMode::kReference}) {
    const auto engine = golden_.engine(mode);
    const std::vector<Request> requests = many();
    const std::vector<Result> alone = each_alone(*engine, requests);
    expect_same(run(*engine, requests, {.max_running = 3}), alone);
    expect_same(run(*engine, requests, {}), alone);
    expect_same(run(*engine, requests, keeping_prefixes(64)), alone);
    expect_same(run(*engine, requests, keeping_prefixes(2)), alone);
  }
}

TEST_F(GeneratorTest, EvidenceIsThatOfARequestAloneAndChangesNoBit) {
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kFull}) {
    const auto engine = golden_.engine(mode);
    std::vector<Request> requests = many();
    const std::vector<Result> without = each_alone(*engine, requests);
    for (std::size_t i = 0; i < requests.size(); i += 2) requests[i].wants_evidence = true;
    const std::vector<Result> alone = each_alone(*engine, requests);
    std::size_t n_passages = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(alone[i].tokens, without[i].tokens);
      EXPECT_EQ(alone[i].finished->logits_sha256, without[i].finished->logits_sha256);
      if (!requests[i].wants_evidence) {
        EXPECT_TRUE(alone[i].finished->evidence.empty());
      }
      for (const Passage& passage : alone[i].finished->evidence) {
        EXPECT_LE(passage.end(), requests[i].prompt.size());
        EXPECT_GT(passage.weight, 0);
        ++n_passages;
      }
    }
    EXPECT_GT(n_passages, 3U);
    expect_same(run(*engine, requests, {}), alone);
    expect_same(run(*engine, requests, keeping_prefixes(64)), alone);
    expect_same(run(*engine, requests, keeping_prefixes(2)), alone);
  }
}

TEST_F(GeneratorTest, EvidenceIsRefusedWhereThereIsNone) {
  for (const AttentionMode mode : {AttentionMode::kNone, AttentionMode::kReference}) {
    const auto engine = golden_.engine(mode);
    Generator generator(*engine, golden_.config, *bytes_, {});
    Request asks = request(0, 20, 1, 2);
    asks.wants_evidence = true;
    EXPECT_THROW(generator.submit(asks, [](const Event&) {}), base::InputError);
  }
}

TEST_F(GeneratorTest, GridsChangeNoBit) {
  std::vector<Request> requests = many();
  for (std::size_t i = 0; i < requests.size(); i += 3) requests[i].wants_evidence = true;
  const auto options = test::Golden::options(AttentionMode::kMoba);
  const std::vector<Result> alone = each_alone(*golden_.engine(options), requests);
  for (const partition::Grid grid : {partition::Grid{2, 1}, {1, 2}, {3, 1}, {2, 2}}) {
    SCOPED_TRACE(test::text(grid));
    test::on_grid(golden_, grid, options, [&](dist::Engine& engine) {
      expect_same(run(engine, requests, {}), alone);
      expect_same(run(engine, requests, keeping_prefixes(5)), alone);
    });
  }
}

TEST_F(GeneratorTest, WhatSeveralBeginWithIsReadOnce) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  std::vector<Request> requests;
  for (TokenId i = 0; i < 8; ++i) {
    requests.push_back(request(200, 240, i, 1));
    requests.back().shared_lengths = {200};
  }
  // All at once: seven wait for the first one.
  const std::vector<Result> together = run(*engine, requests, keeping_prefixes(64));
  EXPECT_EQ(n_tokens_read_, 200 + 8 * 40);
  EXPECT_EQ(together[0].n_shared, 0);
  for (std::size_t i = 1; i < 8; ++i) EXPECT_EQ(together[i].n_shared, 200);
  // Where nobody said what is common, the second one finds out.
  for (Request& each : requests) each.shared_lengths.clear();
  run(*engine, requests, keeping_prefixes(1));
  EXPECT_EQ(n_tokens_read_, 2 * 200 + 8 * 40);
  // The same prompt again: all but the last token is known.
  run(*engine, {requests[0], requests[0], requests[0]}, keeping_prefixes(64));
  EXPECT_EQ(n_tokens_read_, 240 + 2);
  // Nothing is known of what must be looked at.
  for (Request& each : requests) each.prompt_logprobs_from = 1;
  run(*engine, requests, keeping_prefixes(64));
  EXPECT_EQ(n_tokens_read_, 8 * 240);
}

TEST_F(GeneratorTest, PrefixesGiveWayToRequests) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  std::vector<Request> requests;
  for (TokenId i = 0; i < 6; ++i) {
    requests.push_back(request(200, 230, i, 10));
    requests.back().sampler.banned = {golden_.config.end_token};
    requests.back().shared_lengths = {200};
  }
  const std::vector<Result> alone = each_alone(*engine, requests);
  // Room for one request, and the state of what it begins with beside it, whose cache is shared.
  GeneratorOptions tight{.max_running = 4,
                         .memory_bytes = 10 + 240 + 10,
                         .sequence_bytes = {10, 1},
                         .keeps_prefixes = true};
  expect_same(run(*engine, requests, tight), alone);
  const std::size_t n_generated = 6 * 9;
  EXPECT_EQ(n_tokens_read_, 200 + 6 * 30 + n_generated);
  // Without it the prefix goes, and all is read again.
  tight.memory_bytes -= 10;
  expect_same(run(*engine, requests, tight), alone);
  EXPECT_EQ(n_tokens_read_, 6 * 230 + n_generated);
}

TEST_F(GeneratorTest, LogprobsAreThoseOfTheLogits) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  const std::vector<float> logits = golden_.logits(*engine, golden_.tokens.size());
  Request all;
  all.prompt = golden_.tokens;
  all.prompt_logprobs_from = 100;
  all.n_top_logprobs = 3;
  const Result result = run(*engine, {all}, {})[0];
  ASSERT_EQ(result.prompt_logprobs.size(), golden_.tokens.size() - 100);
  const std::size_t n_vocabulary = golden_.config.vocab_size;
  for (std::size_t i = 0; i < result.prompt_logprobs.size(); ++i) {
    const auto& [position, found] = result.prompt_logprobs[i];
    ASSERT_EQ(position, 100 + i);
    EXPECT_EQ(found.own.token, golden_.tokens[position]);
    const auto row = std::span(logits).subspan((position - 1) * n_vocabulary, n_vocabulary);
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit));
    const auto expected = [&](TokenId id) {
      return std::log(std::exp(static_cast<double>(row[static_cast<std::size_t>(id)])) / sum);
    };
    // Sums of 320 numbers in double.
    EXPECT_NEAR(found.own.logprob, expected(found.own.token), 1e-12);
    ASSERT_EQ(found.top.size(), 3);
    for (const TokenLogprob& top : found.top) EXPECT_NEAR(top.logprob, expected(top.token), 1e-12);
    EXPECT_EQ(row[static_cast<std::size_t>(found.top[0].token)], *std::ranges::max_element(row));
    EXPECT_GE(found.top[0].logprob, found.top[1].logprob);
    EXPECT_GE(found.top[1].logprob, found.top[2].logprob);
  }
}

TEST(LogprobsTest, OfEqualsTheLowerIdIsBetter) {
  const std::vector<float> logits{1, 3, 3, 2, 3};
  const Logprobs found = logprobs_of(logits, 3, 4);
  std::vector<TokenId> top;
  for (const TokenLogprob& each : found.top) top.push_back(each.token);
  EXPECT_EQ(top, (std::vector<TokenId>{1, 2, 4, 3}));
  EXPECT_EQ(found.own.logprob, found.top[3].logprob);
  EXPECT_EQ(logprobs_of(logits, 0, 9).top.size(), 5);
}

TEST_F(GeneratorTest, RequestsEndAsAsked) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  Request asked = request(100, 100, 3, 40);
  asked.sampler.banned = {golden_.config.end_token};
  const Result whole = run(*engine, {asked}, {})[0];
  ASSERT_EQ(whole.tokens.size(), 40);
  EXPECT_EQ(whole.finished->reason, FinishReason::kLength);

  const TokenId stop = whole.tokens[20];
  const auto first = std::ranges::find(whole.tokens, stop) - whole.tokens.begin();
  Request at_token = asked;
  at_token.stop_tokens = {stop};
  at_token.n_top_logprobs = 0;
  const Result stopped = run(*engine, {at_token}, {})[0];
  EXPECT_EQ(stopped.finished->reason, FinishReason::kStopToken);
  EXPECT_EQ(stopped.finished->end_token, stop);
  ASSERT_TRUE(stopped.finished->end_logprobs);
  EXPECT_EQ(stopped.finished->end_logprobs->own.token, stop);
  EXPECT_EQ(stopped.tokens.size(), first);

  Request at_text = asked;
  const auto bytes = [&](std::size_t i) { return std::string(bytes_->bytes(whole.tokens[i])); };
  at_text.stop_strings = {bytes(10) + bytes(11)};
  std::size_t n_before = 0;
  while (bytes(n_before) + bytes(n_before + 1) != at_text.stop_strings[0]) ++n_before;
  const Result cut = run(*engine, {at_text}, {})[0];
  EXPECT_EQ(cut.finished->reason, FinishReason::kStopString);
  EXPECT_EQ(cut.tokens.size(), n_before + 2);  // the text ends before them
  at_text.stop_strings.clear();
  at_text.n_new = n_before;
  EXPECT_EQ(cut.text, run(*engine, {at_text}, {})[0].text);

  Request only_end = asked;
  only_end.sampler.banned.clear();
  for (TokenId id = 0; id < static_cast<TokenId>(golden_.config.vocab_size); ++id) {
    if (id != golden_.config.end_token) only_end.sampler.banned.push_back(id);
  }
  const Result ended = run(*engine, {only_end}, {})[0];
  EXPECT_EQ(ended.finished->reason, FinishReason::kEndToken);
  EXPECT_TRUE(ended.tokens.empty());

  Request late = asked;
  late.deadline_seconds = 0;
  EXPECT_EQ(run(*engine, {late}, {})[0].finished->reason, FinishReason::kDeadline);
}

TEST_F(GeneratorTest, OneThatFailsDisturbsNobody) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  std::vector<Request> requests = many();
  const std::vector<Result> alone = each_alone(*engine, requests);
  for (TokenId id = 0; id < static_cast<TokenId>(golden_.config.vocab_size); ++id) {
    requests[4].sampler.banned.push_back(id);
  }
  std::vector<Result> found = run(*engine, requests, {});
  EXPECT_EQ(found[4].finished->reason, FinishReason::kFailed);
  EXPECT_NE(found[4].finished->error.find("no token is left to draw"), std::string::npos);
  found[4] = alone[4];
  expect_same(found, alone);
}

TEST_F(GeneratorTest, CancelledRequestsEndAtTheNextStep) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  const std::vector<Request> requests = many();
  const std::vector<Result> alone = each_alone(*engine, requests);
  Generator generator(*engine, golden_.config, *bytes_, {.max_running = 8});
  std::vector<Result> results(requests.size());
  std::vector<RequestId> ids;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    ids.push_back(generator.submit(requests[i], [&, i](const Event& event) {
      results[i].take(event);
      // From inside a sink: itself, a running one, one that waits.
      if (i == 2 && results[i].tokens.size() == 1) {
        for (const std::size_t other : {2, 5, 11}) generator.cancel(ids[other]);
      }
    }));
  }
  while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
  generator.cancel(ids[0]);  // has finished
  EXPECT_TRUE(generator.step());
  for (const std::size_t i : {2, 5, 11}) {
    EXPECT_EQ(results[i].finished->reason, FinishReason::kCancelled);
    results[i] = alone[i];
  }
  expect_same(results, alone);
}

TEST_F(GeneratorTest, TheLastStepOfAPromptMayHaveNoLogits) {
  // 512 rows tell of the tokens after them; the last one, in a step of its own, of nothing.
  Request all = request(300, 513, 1, 0);
  all.prompt_logprobs_from = 1;
  const auto options = test::Golden::options(AttentionMode::kMoba);
  const std::vector<Request> requests{all, request(0, 100, 2, 5), all};
  const std::vector<Result> alone = each_alone(*golden_.engine(options), requests);
  EXPECT_EQ(alone[0].prompt_logprobs.size(), 512);
  test::on_grid(golden_, {2, 1}, options, [&](dist::Engine& engine) {
    expect_same(run(engine, {all}, {}), {alone[0]});
    expect_same(run(engine, requests, {}), alone);
  });
}

TEST_F(GeneratorTest, MayEndWhileLogitsAreUnderWay) {
  // The last stage works on them when the first one has nothing more to do.
  test::on_grid(golden_, {3, 1}, test::Golden::options(AttentionMode::kMoba),
                [&](dist::Engine& engine) {
                  Generator generator(engine, golden_.config, *bytes_, {});
                  generator.submit(request(300, 300, 1, 5), [](const Event&) {});
                  EXPECT_TRUE(generator.step());
                });
}

TEST_F(GeneratorTest, GoesOnBehindASession) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  const Request whole = request(150, 200, 1, 10);
  const Result expected = run(*engine, {whole}, {})[0];
  dist::Session session = engine->new_session();
  const std::span<const TokenId> prompt(whole.prompt);
  engine->feed(session, prompt.first(120), {}, [](std::size_t, std::span<const float>) {});
  Request rest = whole;
  rest.prompt.erase(rest.prompt.begin(), rest.prompt.begin() + 120);
  Generator generator(*engine, golden_.config, *bytes_, keeping_prefixes(4));
  Result found;
  generator.submit(
      rest, [&](const Event& event) { found.take(event); }, engine->fork(session));
  while (generator.n_requests() > 0) generator.step();
  EXPECT_EQ(found.tokens, expected.tokens);
  EXPECT_EQ(found.finished->logits_sha256, expected.finished->logits_sha256);
}

TEST_F(GeneratorTest, RefusesWhatItCannotRun) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  Generator generator(*engine, golden_.config, *bytes_,
                      {.max_waiting = 2, .memory_bytes = 1000, .sequence_bytes = {100, 10}});
  const auto submit = [&](const Request& asked) { generator.submit(asked, [](const Event&) {}); };
  test::expect_refused([&] { submit(Request{}); }, "the prompt is empty");
  Request foreign = request(0, 10, 0, 1);
  foreign.prompt[4] = 320;
  test::expect_refused([&] { submit(foreign); }, "320", "index 4");
  Request hot = request(0, 10, 0, 1);
  hot.sampler.temperature = -1;
  test::expect_refused([&] { submit(hot); }, "--temperature");
  test::expect_refused([&] { submit(request(0, 60, 0, 31)); }, "91 tokens");
  submit(request(0, 60, 0, 30));
  EXPECT_FALSE(generator.queue_is_full());
  submit(request(0, 60, 0, 30));
  EXPECT_TRUE(generator.queue_is_full());
  while (generator.n_requests() > 0) generator.step();
}

TEST_F(GeneratorTest, SavesWhatItReadsAndGoesOnFromIt) {
  const test::TempFolder folder;
  auto options = test::Golden::options(AttentionMode::kMoba);
  options.contexts = {{{folder.path() / "c"}}};
  Request saved = request(150, 150, 1, 7);
  const Request longer = request(150, 260, 2, 5);
  const auto plain = golden_.engine(AttentionMode::kMoba);
  const std::vector<Result> alone = each_alone(*plain, {saved, longer});
  {
    auto context = dist::ContextDirectory::open_to_write(folder.path() / "c", {});
    const auto engine = golden_.engine(options);
    saved.saving = Saving{.every = 60};
    Result result;
    std::vector<TokenId> all = saved.prompt;
    std::vector<std::size_t> states;
    Generator generator(*engine, golden_.config, *bytes_, {});
    generator.submit(saved, [&](const Event& event) {
      if (const auto* const state = std::get_if<Saved>(&event)) {
        states.push_back(state->n_tokens);
        context.add_state(std::span(all).first(state->n_tokens));
      }
      if (const auto* const token = std::get_if<NewToken>(&event)) all.push_back(token->token);
      result.take(event);
    });
    while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
    expect_same({result}, {alone[0]});
    EXPECT_EQ(states, (std::vector<std::size_t>{60, 120, 150 + result.tokens.size()}));
  }
  // What is in files takes no memory.
  const auto engine = golden_.engine(options);
  GeneratorOptions small{.memory_bytes = 200, .sequence_bytes = {1, 1}, .keeps_prefixes = true};
  test::expect_refused([&] { run(*engine, {longer}, small); }, "memory");
  SavedTexts texts;
  texts.add(0, std::make_shared<const dist::ContextDirectory>(
                   dist::ContextDirectory::open(folder.path() / "c")));
  small.saved = &texts;
  const std::vector<Result> found = run(*engine, {longer}, small);
  expect_same(found, {alone[1]});
  EXPECT_EQ(found[0].n_shared, 120u);
}

TEST_F(GeneratorTest, SavesWhatIsKnownWithoutReadingIt) {
  const test::TempFolder folder;
  Request first = request(150, 150, 1, 7);
  first.shared_lengths = {40, 90};
  const Request longer = request(150, 260, 2, 5);
  const auto plain = golden_.engine(AttentionMode::kMoba);
  const std::vector<Result> alone = each_alone(*plain, {first, longer});
  {
    const auto engine = golden_.engine(AttentionMode::kMoba);
    SavedTexts texts;
    std::vector<std::size_t> were_read;
    texts.on_read([&](std::span<const TokenId> tokens) { were_read.push_back(tokens.size()); });
    GeneratorOptions options = keeping_prefixes(4);
    options.saved = &texts;
    Generator generator(*engine, golden_.config, *bytes_, options);
    std::optional<dist::ContextParent> parent;
    std::size_t n_saved = 0;
    for (const auto& [asked, name] : {std::pair(first, "a"), std::pair(longer, "b")}) {
      Result result;
      generator.submit(asked, [&](const Event& event) { result.take(event); });
      while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
      expect_same({result}, {alone[name[0] == 'a' ? 0 : 1]});
      EXPECT_EQ(were_read.back(), asked.prompt.size());
      const std::size_t n_before = generator.n_tokens_read();
      auto context = dist::ContextDirectory::open_to_write(folder.path() / name, {}, parent);
      Request saved;
      saved.prompt = asked.prompt;
      saved.prompt.pop_back();  // what was kept when its last token was read
      saved.saving = Saving{1000, engine->add_context(context.folders()), n_saved};
      Result of_saved;
      std::vector<std::size_t> states;
      generator.submit(saved, [&](const Event& event) {
        of_saved.take(event);
        if (const auto* const state = std::get_if<Saved>(&event)) {
          states.push_back(state->n_tokens);
          context.add_state(std::span(saved.prompt).first(state->n_tokens));
        }
      });
      while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
      ASSERT_TRUE(of_saved.finished);
      EXPECT_EQ(of_saved.finished->reason, FinishReason::kLength);
      EXPECT_EQ(generator.n_tokens_read(), n_before);
      if (!parent) {
        EXPECT_EQ(states, (std::vector<std::size_t>{40, 90, 149}));
      }
      n_saved = states.back();
      parent = {folder.path() / name, context.states().back()};
    }
    EXPECT_EQ(were_read.size(), 2u);  // what is saved is no news
    EXPECT_EQ(n_saved, 259u);
  }
  auto options = test::Golden::options(AttentionMode::kMoba);
  options.contexts = {dist::ContextDirectory::open(folder.path() / "b").folders()};
  const auto engine = golden_.engine(options);
  SavedTexts texts;
  texts.add(0, std::make_shared<const dist::ContextDirectory>(
                   dist::ContextDirectory::open(folder.path() / "b")));
  GeneratorOptions from_files = keeping_prefixes(4);
  from_files.saved = &texts;
  const std::vector<Result> found = run(*engine, {longer, first}, from_files);
  expect_same(found, {alone[1], alone[0]});
  EXPECT_EQ(found[0].n_shared, 259u);
  EXPECT_EQ(found[1].n_shared, 149u);
}

TEST_F(GeneratorTest, WhatCannotBeSavedFailsAlone) {
  const test::TempFolder folder;
  const Request beside = request(150, 260, 2, 5);
  Request saved = request(150, 150, 1, 7);
  saved.saving = Saving{.every = 60};
  const auto plain = golden_.engine(AttentionMode::kMoba);
  const std::vector<Result> alone = each_alone(*plain, {beside, request(150, 150, 1, 7)});
  const auto engine = golden_.engine(AttentionMode::kMoba);
  Generator generator(*engine, golden_.config, *bytes_, {});
  // Twice: another context can be saved to after one has failed.
  for (const char* const name : {"a", "b"}) {
    auto context = dist::ContextDirectory::open_to_write(folder.path() / name, {});
    saved.saving->context = engine->add_context(context.folders());
    const bool fails = name[0] == 'a';
    if (fails) {
      std::filesystem::remove_all(folder.path() / name / "states");
      base::write_file(folder.path() / name / "states", "a file");
    }
    Result of_saved, of_beside;
    std::vector<TokenId> all = saved.prompt;
    generator.submit(saved, [&](const Event& event) {
      if (const auto* const state = std::get_if<generation::Saved>(&event)) {
        context.add_state(std::span(all).first(state->n_tokens));
      }
      if (const auto* const token = std::get_if<NewToken>(&event)) all.push_back(token->token);
      of_saved.take(event);
    });
    generator.submit(beside, [&](const Event& event) { of_beside.take(event); });
    while (generator.n_requests() > 0) EXPECT_TRUE(generator.step());
    expect_same({of_beside}, {alone[0]});
    if (fails) {
      EXPECT_EQ(of_saved.finished->reason, FinishReason::kFailed);
      EXPECT_NE(of_saved.finished->error.find("states"), std::string::npos);
    } else {
      expect_same({of_saved}, {alone[1]});
      EXPECT_EQ(context.n_tokens(), 150 + of_saved.tokens.size());
    }
    engine->drop_context(saved.saving->context);
  }
}

}  // namespace
}  // namespace longreach::generation
