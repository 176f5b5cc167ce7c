#include "eval/examiner.hpp"

#include "dist/comm/lone_communicator.hpp"
#include "eval/run.hpp"
#include "eval/shared_questions.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/sha256.hpp"
#include "tests/support/golden_engine.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

namespace longreach::eval {
namespace {

using base::TokenId;
using model::AttentionMode;

/// Prompts with common beginnings, to one golden model.
class ExaminerTest : public ::testing::Test {
 protected:
  Examiner examiner(dist::Engine& engine, bool keeps_prefixes, std::size_t n_at_once = 1) {
    return {engine,
            golden_.config,
            *bytes_,
            {.max_running = n_at_once,
             .memory_bytes = 1000,
             .sequence_bytes = {1, 0},
             .keeps_prefixes = keeps_prefixes}};
  }
  /// Asks one question and waits for its outcome.
  static Outcome outcome_of(Examiner& examiner, const Question& question) {
    std::optional<Outcome> outcome;
    examiner.ask(question, {[](double) {}, [&](const Outcome& found) { outcome = found; }});
    while (!outcome) EXPECT_TRUE(examiner.step({}));
    return *outcome;
  }
  /// The first n_common tokens are those of all prompts; the rest are `number`'s.
  Question question(std::size_t n_common, std::size_t n_tokens, TokenId number) const {
    Question question;
    question.prompt.assign(golden_.tokens.begin(),
                           golden_.tokens.begin() + static_cast<std::ptrdiff_t>(n_common));
    while (question.prompt.size() < n_tokens) {
      question.prompt.push_back((number + static_cast<TokenId>(question.prompt.size())) % 256);
    }
    question.n_shared = n_common;
    question.asked = ToAnswer{6, {}, {"x"}, Match::kAll};
    return question;
  }

  static constexpr bool kPrefixes = true, kNone = false;

  test::Golden golden_{300};
  std::unique_ptr<model::Tokenizer> bytes_ = model::open_tokenizer("bytes");
};

TEST_F(ExaminerTest, SharingChangesNoBit) {
  std::vector<Question> questions;
  for (const std::size_t n_common : {40, 40, 73, 73, 0, 150, 149, 20}) {
    questions.push_back(question(n_common, 200, static_cast<TokenId>(questions.size())));
  }
  questions.push_back(question(200, 200, 0));  // nothing is left behind the common part
  questions.push_back(questions[2]);
  questions[3].n_shared = 100;  // more than the next prompts have in common with it
  for (const AttentionMode mode : {AttentionMode::kMoba, AttentionMode::kFull}) {
    const auto engine = golden_.engine(mode);
    Examiner shared = examiner(*engine, kPrefixes);
    std::set<std::string> different;
    for (const Question& asked : questions) {
      Examiner alone = examiner(*engine, kNone);
      const Outcome expected = outcome_of(alone, asked), found = outcome_of(shared, asked);
      EXPECT_EQ(found.answer, expected.answer);
      EXPECT_EQ(found.logits_sha256, expected.logits_sha256);
      different.insert(found.logits_sha256);
    }
    EXPECT_EQ(different.size(), questions.size() - 1);
  }
}

TEST_F(ExaminerTest, AWholeTextIsReadOnce) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  Examiner shared = examiner(*engine, kPrefixes);
  for (TokenId number = 0; number < 5; ++number) {
    Question asked = question(190, 200, number);
    std::get<ToAnswer>(asked.asked).n_new = 1;
    outcome_of(shared, asked);
  }
  EXPECT_EQ(shared.n_tokens_read(), 190 + 5 * 10);
}

TEST_F(ExaminerTest, AnswersEndAsAsked) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  Examiner all = examiner(*engine, kNone);
  Question asked = question(100, 100, 0);
  std::get<ToAnswer>(asked.asked).n_new = 40;
  const std::string whole = outcome_of(all, asked).answer;
  // Its first bytes are certain, whatever they are, as every byte is a token.
  const std::size_t n_before = all.n_tokens_read();
  std::get<ToAnswer>(asked.asked).n_new = 2;
  const Outcome two = outcome_of(all, asked);
  EXPECT_EQ(all.n_tokens_read() - n_before, 100 + 1);
  EXPECT_LE(two.answer.size(), whole.size());
}

TEST_F(ExaminerTest, LossIsThatOfTheLogits) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  const std::vector<float> logits = golden_.logits(*engine, golden_.tokens.size());
  const std::size_t n_vocabulary = golden_.config.vocab_size;
  Question asked;
  asked.prompt.assign(golden_.tokens.begin(), golden_.tokens.begin() + 101);
  asked.asked = ToPredict{{0, 10, 100}};
  Examiner all = examiner(*engine, kPrefixes);
  const Outcome outcome = outcome_of(all, asked);
  ASSERT_EQ(outcome.losses.size(), 2);
  const auto loss = [&](std::size_t from, std::size_t to) {
    double sum = 0;
    for (std::size_t t = from; t < to; ++t) {
      const auto weight = [&](std::size_t token) {
        return std::exp(static_cast<double>(logits[t * n_vocabulary + token]));
      };
      double weights = 0;
      for (std::size_t i = 0; i < n_vocabulary; ++i) weights += weight(i);
      sum -= std::log(weight(static_cast<std::size_t>(asked.prompt[t + 1])) / weights);
    }
    return sum / static_cast<double>(to - from);
  };
  // Both are sums of some hundred numbers in double.
  EXPECT_NEAR(outcome.losses[0], loss(0, 10), 1e-12);
  EXPECT_NEAR(outcome.losses[1], loss(10, 100), 1e-12);
  base::Sha256 hash;
  hash.update(std::as_bytes(std::span(logits).first(100 * n_vocabulary)));
  EXPECT_EQ(outcome.logits_sha256, hash.hex_digest());
}

TEST_F(ExaminerTest, StopsWhenTold) {
  const auto engine = golden_.engine(AttentionMode::kMoba);
  for (const double stop_at : {0.0, 0.5}) {
    Examiner all = examiner(*engine, kPrefixes);
    const auto fail = [](const Outcome&) { FAIL() << "a question that was stopped"; };
    all.ask(question(50, 200, 0), {[](double) {}, fail});
    bool goes_on = true;
    while (goes_on) goes_on = all.step([&](double share) { return share < stop_at; });
    EXPECT_EQ(all.n_under_way(), 1);
  }
  Examiner all = examiner(*engine, kPrefixes);
  EXPECT_FALSE(outcome_of(all, question(50, 200, 0)).logits_sha256.empty());
}

TEST_F(ExaminerTest, ProbeTellsModelsApart) {
  const auto engine = golden_.engine(AttentionMode::kMoba),
             again = golden_.engine(AttentionMode::kMoba);
  EXPECT_EQ(model_fingerprint(*engine), model_fingerprint(*again));
  EXPECT_EQ(model_fingerprint(*engine).size(), 16);
}

/// Questions of the tests above as a task.
class FewQuestions final : public Task {
 public:
  explicit FewQuestions(std::vector<Question> questions)
      : Task("few", std::vector<QuestionSpec>(questions.size(), QuestionSpec{200, {}, 0})),
        questions_(std::move(questions)) {}
  Question question(std::size_t index) const override { return questions_[index]; }

 private:
  std::vector<Question> questions_;
};

TEST_F(ExaminerTest, ARunThatWasStoppedGoesOn) {
  std::vector<Question> questions;
  for (TokenId number = 0; number < 6; ++number) questions.push_back(question(120, 200, number));
  const FewQuestions task(questions);
  const auto engine = golden_.engine(AttentionMode::kMoba);
  const test::TempFolder folder;
  std::vector<std::size_t> done;
  for (const std::size_t stop_at : {0, 2, 3, 100}) {
    Examiner all = examiner(*engine, kPrefixes);
    ResultFile file(folder.path() / "r.jsonl", task, {});
    std::size_t n_last = 0;
    dist::LoneCommunicator alone;
    SharedQuestions work(task, file, 1, [&](const RunProgress& progress) {
      EXPECT_EQ(progress.n_questions, 6);
      EXPECT_GE(progress.n_done, n_last);
      EXPECT_TRUE(progress.share_done >= 0 && progress.share_done <= 1);
      n_last = progress.n_done;
      return progress.n_done < stop_at;
    });
    const bool finished = run(task, all, {}, {}, *generation::leading_source(work, "", alone));
    EXPECT_EQ(finished, stop_at == 100);
    done.push_back(file.results().size());
  }
  EXPECT_EQ(done, (std::vector<std::size_t>{0, 2, 3, 6}));
}

TEST_F(ExaminerTest, SeveralAtOnceGetTheResultsOfEachAlone) {
  std::vector<Question> questions;
  for (TokenId number = 0; number < 9; ++number) {
    questions.push_back(question(number % 3 == 0 ? 30 : 120, 200, number));
  }
  questions[4].asked = ToPredict{{0, 10, 199}};
  const FewQuestions task(questions);
  const auto engine = golden_.engine(AttentionMode::kMoba);
  const auto results = [&](std::size_t n_at_once) {
    const test::TempFolder folder;
    Examiner all = examiner(*engine, kPrefixes, n_at_once);
    dist::LoneCommunicator alone;
    {
      ResultFile file(folder.path() / "r.jsonl", task, {});
      SharedQuestions shared(task, file, 1, [](const RunProgress&) { return true; });
      EXPECT_TRUE(run(task, all, {}, {}, *generation::leading_source(shared, "", alone)));
      file.sort();
    }
    std::string lines = base::read_file(folder.path() / "r.jsonl");
    for (std::size_t at = 0; (at = lines.find("\"seconds\":", at)) != std::string::npos;) {
      at += 10;
      lines.erase(at, lines.find(',', at) - at);  // they alone differ
    }
    return lines;
  };
  const std::string one_by_one = results(1);
  EXPECT_EQ(std::ranges::count(one_by_one, '\n'), 9);
  EXPECT_EQ(results(4), one_by_one);
  EXPECT_EQ(results(64), one_by_one);
}

}  // namespace
}  // namespace longreach::eval
