#include "eval/tasks.hpp"

#include "eval/generate.hpp"
#include "eval/words.hpp"
#include "tests/support/count.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <regex.h>

#include <algorithm>
#include <set>
#include <stdexcept>

namespace longreach::eval {
namespace {

using Texts = std::vector<std::string>;

/// Tokens of one to three bytes, so that a token may lie across a place where texts part.
class TripletTokenizer final : public model::Tokenizer {
 public:
  std::vector<base::TokenId> encode(std::string_view text) const override {
    std::vector<base::TokenId> ids;
    for (std::size_t i = 0; i < text.size(); i += 3) {
      base::TokenId id = 0;
      for (const char c : text.substr(i, 3)) id = id * 128 + c;
      ids.push_back(id);
    }
    return ids;
  }
  std::optional<std::string_view> find(base::TokenId id) const override {
    return id < 128 ? "x" : id < 128 * 128 ? "xx" : "xxx";
  }
  std::string_view name() const override { return "triplets"; }
};

class Tasks : public ::testing::Test {
 protected:
  std::unique_ptr<Task> make(std::string_view name, const TaskOptions& options) const {
    return make(name, options, *bytes_);
  }
  static std::unique_ptr<Task> make(std::string_view name, const TaskOptions& options,
                                    const model::Tokenizer& tokenizer) {
    const auto kind = std::ranges::find(task_kinds(), name, &TaskKind::name);
    return kind->make(options, tokenizer);
  }
  std::string prompt(const Task& task, std::size_t index) const {
    return bytes_->decode(task.question(index).prompt);
  }
  static ToAnswer asked(const Task& task, std::size_t index) {
    return std::get<ToAnswer>(task.question(index).asked);
  }

  test::TempFolder folder_;
  std::unique_ptr<model::Tokenizer> bytes_ = model::open_tokenizer("bytes");
};

/// Every match of a POSIX extended regular expression, in order: the whole of it, then its groups.
/// std::regex would take most of this file's time to compile, half a minute with sanitizers.
std::vector<Texts> matches(const std::string& text, const std::string& pattern) {
  constexpr std::size_t kMostGroups = 4;
  regex_t compiled;
  if (regcomp(&compiled, pattern.c_str(), REG_EXTENDED) != 0) throw std::invalid_argument(pattern);
  EXPECT_LT(compiled.re_nsub, kMostGroups);
  std::vector<Texts> found;
  regmatch_t groups[kMostGroups];
  const char* at = text.c_str();
  for (int flags = 0; regexec(&compiled, at, kMostGroups, groups, flags) == 0; flags = REG_NOTBOL) {
    Texts& match = found.emplace_back();
    for (std::size_t i = 0; i <= compiled.re_nsub; ++i) {
      match.emplace_back(at + groups[i].rm_so, at + groups[i].rm_eo);
    }
    at += groups[0].rm_eo;
  }
  regfree(&compiled);
  return found;
}

TaskOptions options(std::size_t length, std::size_t n_depths = 0) {
  TaskOptions options;
  options.lengths = {length};
  options.n_depths = n_depths;
  options.n_samples = 3;
  options.seed = 5;
  return options;
}

/// Generated tasks with a length that all of them can have.
std::vector<std::pair<std::string, TaskOptions>> generated() {
  std::vector<std::pair<std::string, TaskOptions>> all;
  for (const TaskKind& kind : task_kinds()) {
    const std::string name(kind.name);
    if (kind.form == TaskForm::kPasskey) all.emplace_back(name, options(1500, 4));
    if (kind.form == TaskForm::kNeedles) all.emplace_back(name, options(3000, 4));
    if (kind.form == TaskForm::kNeedles || kind.form == TaskForm::kGenerated)
      all.emplace_back(name, options(3000));
  }
  return all;
}

TEST_F(Tasks, FillTheLengthAndNoMore) {
  const TripletTokenizer triplets;
  const std::vector<const model::Tokenizer*> tokenizers{bytes_.get(), &triplets};
  for (const auto& [name, chosen] : generated()) {
    for (const model::Tokenizer* tokenizer : tokenizers) {
      const auto task = make(name, chosen, *tokenizer);
      for (std::size_t i = 0; i < task->specs().size(); ++i) {
        const Question question = task->question(i);
        const std::size_t n = question.prompt.size() + std::get<ToAnswer>(question.asked).n_new;
        EXPECT_LE(n, chosen.lengths[0]) << name;
        // A unit of any text, and the widest keys it is prepared for.
        EXPECT_GE(n + 220, chosen.lengths[0]) << name;
      }
    }
  }
}

TEST_F(Tasks, AQuestionDependsOnItsPlaceAlone) {
  for (const auto& [name, chosen] : generated()) {
    const auto task = make(name, chosen);
    TaskOptions more = chosen;
    more.lengths = {2900, chosen.lengths[0]};
    const auto larger = make(name, more);
    const std::size_t n = task->specs().size();
    ASSERT_EQ(larger->specs().size(), 2 * n);
    std::set<std::string> different;
    for (std::size_t i = n; i-- > 0;) {  // in another order
      different.insert(prompt(*task, i));
      EXPECT_EQ(prompt(*task, i), prompt(*larger, n + i)) << name;
      EXPECT_EQ(asked(*task, i).expected, asked(*larger, n + i).expected) << name;
    }
    EXPECT_EQ(different.size(), n) << name;
    TaskOptions seeded = chosen;
    seeded.seed = 6;
    EXPECT_NE(prompt(*make(name, seeded), 0), prompt(*task, 0)) << name;
  }
}

TEST_F(Tasks, SharedBeginningsAreShared) {
  const TripletTokenizer triplets;
  const std::vector<const model::Tokenizer*> tokenizers{bytes_.get(), &triplets};
  for (const auto& [name, chosen] : generated()) {
    for (const model::Tokenizer* tokenizer : tokenizers) {
      const auto task = make(name, chosen, *tokenizer);
      for (std::size_t i = 0; i + 1 < task->specs().size(); ++i) {
        const Question a = task->question(i), b = task->question(i + 1);
        const auto common = std::ranges::mismatch(a.prompt, b.prompt).in1 - a.prompt.begin();
        EXPECT_LE(a.n_shared, common) << name;
      }
    }
  }
}

TEST_F(Tasks, RefuseALengthAndSayWhatTheyNeed) {
  for (const auto& [name, chosen] : generated()) {
    TaskOptions small = chosen;
    small.lengths = {20};
    const std::string sentence = test::refusal([&] {
      const auto task = make(name, small);
      task->question(0);
    });
    const std::vector<Texts> needs = matches(sentence, "needs about ([0-9]+) tokens");
    ASSERT_EQ(needs.size(), 1) << sentence;
    // The words of another length are others.
    small.lengths = {std::stoul(needs[0][1]) + 60};
    EXPECT_NO_THROW(make(name, small)->question(0)) << name;
  }
}

TEST_F(Tasks, PasskeyHasItsOriginsForm) {
  const auto task = make("passkey", options(1000, 10));
  const std::size_t index = 3 * 3 + 1;  // depth 30%, sample 1
  const ToAnswer answer = asked(*task, index);
  const std::string key = answer.expected.at(0);
  EXPECT_EQ(answer.match, Match::kExact);
  EXPECT_EQ(answer.n_new, key.size() + 1);
  EXPECT_EQ(task->question(index).depth_percent, 30);
  const std::string text = prompt(*task, index);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  ASSERT_EQ(lines.size(), 5);
  EXPECT_EQ(lines[0],
            "There is an important info hidden inside a lot of irrelevant text. Find it and "
            "memorize them. I will quiz you about the important information there.");
  EXPECT_EQ(lines[2], "The pass key is " + key + ". Remember it. " + key + " is the pass key.");
  EXPECT_EQ(lines[4], "What is the pass key? The pass key is");
  EXPECT_TRUE(lines[3].starts_with(lines[1]));  // both are the beginning of the same sentences
  const std::string garbage = std::string(kGarbage) + " " + std::string(kGarbage);
  EXPECT_EQ(lines[1].substr(0, garbage.size()),
            garbage.substr(0, std::min(garbage.size(), lines[1].size())));
  const double share =
      static_cast<double>(lines[1].size()) / static_cast<double>(lines[1].size() + lines[3].size());
  EXPECT_NEAR(share, 0.3, 0.01);
}

TEST_F(Tasks, NeedlesAreTheSentencesWithTheAnswer) {
  for (const char* const name :
       {"passkey", "niah_single_1", "niah_multikey_2", "niah_multikey_3"}) {
    TaskOptions asked_for = options(4000, 3);
    asked_for.wants_evidence = true;
    const auto task = make(name, asked_for), plain = make(name, options(4000, 3));
    for (std::size_t i = 0; i < task->specs().size(); ++i) {
      const Question question = task->question(i);
      ASSERT_TRUE(question.needle) << name;
      const auto [begin, end] = *question.needle;
      const std::string needle =
          bytes_->decode(std::span(question.prompt).subspan(begin, end - begin));
      const std::string value = asked(*task, i).expected.at(0);
      EXPECT_NE(needle.find(value), std::string::npos) << needle;
      EXPECT_TRUE(needle.starts_with("The pass key is ") ||
                  needle.starts_with("One of the special magic "))
          << needle;
      EXPECT_TRUE(needle.ends_with('.')) << needle;
      EXPECT_EQ(question.prompt, plain->question(i).prompt);
      EXPECT_FALSE(plain->question(i).needle);
    }
  }
}

TEST(TokensHolding, AreThoseWithAnyOfTheBytes) {
  const auto bytes = model::open_tokenizer("bytes");
  const auto prompt = bytes->encode("abcdef");
  EXPECT_EQ(tokens_holding(*bytes, prompt, 0, 2), (partition::Range{0, 2}));
  EXPECT_EQ(tokens_holding(*bytes, prompt, 2, 3), (partition::Range{2, 5}));
  EXPECT_EQ(tokens_holding(*bytes, prompt, 5, 9), (partition::Range{5, 6}));
  const TripletTokenizer triplets;
  const auto three = triplets.encode("abcdefgh");
  EXPECT_EQ(tokens_holding(triplets, three, 2, 1), (partition::Range{0, 1}));
  EXPECT_EQ(tokens_holding(triplets, three, 3, 1), (partition::Range{1, 2}));
  EXPECT_EQ(tokens_holding(triplets, three, 2, 5), (partition::Range{0, 3}));
}

TEST_F(Tasks, PasskeysAreFromOneTo50000) {
  TaskOptions many = options(400, 1);
  many.n_samples = 2000;
  const auto task = make("passkey", many);
  std::size_t sum = 0;
  for (std::size_t i = 0; i < many.n_samples; ++i) {
    const std::size_t key = std::stoul(asked(*task, i).expected[0]);
    EXPECT_TRUE(key >= 1 && key <= 50'000);
    sum += key;
  }
  // The mean of so many has a standard deviation of 50000 / sqrt(12 * 2000).
  EXPECT_NEAR(static_cast<double>(sum) / 2000, 25'000, 6 * 323);
}

TEST_F(Tasks, OneNeedleInNoiseHasRulersForm) {
  const auto task = make("niah_single_1", options(3000));
  EXPECT_EQ(task->name(), "niah_single_1-like");
  const std::string text = prompt(*task, 1), value = asked(*task, 1).expected.at(0);
  EXPECT_EQ(asked(*task, 1).n_new, 128);
  const std::vector<Texts> needles =
      matches(text, "One of the special magic numbers for ([a-z-]+) is: ([0-9]{7})\\.");
  ASSERT_EQ(needles.size(), 1);
  EXPECT_EQ(needles[0][2], value);
  const std::string key = needles[0][1];
  EXPECT_TRUE(text.starts_with(
      "A special magic number is hidden within the following text. Make sure to memorize it. I "
      "will quiz you about the number afterwards.\nThe grass is green."));
  EXPECT_TRUE(text.ends_with("\nWhat is the special magic number for " + key +
                             " mentioned in the provided text? The special magic number for " +
                             key + " mentioned in the provided text is"));
  EXPECT_EQ(test::count(text, "One of the special"), 1);
  EXPECT_GT(test::count(text, "\n" + std::string(kGarbage) + "\n"), 5);
}

TEST_F(Tasks, NeedlesAmongNeedlesHaveOneAnswer) {
  const std::string uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
  for (const auto& [name, key, value] :
       {std::tuple("niah_multikey_2", std::string("[a-z]+-[a-z]+"), std::string("[1-9][0-9]{6}")),
        std::tuple("niah_multikey_3", uuid, uuid)}) {
    for (const std::size_t n_depths : {0, 4}) {
      const auto task = make(name, options(4000, n_depths));
      for (std::size_t i = 0; i < task->specs().size(); ++i) {
        const std::string text = prompt(*task, i);
        const std::vector<Texts> asked_key = matches(text, "for (" + key + ") mentioned");
        ASSERT_FALSE(asked_key.empty());
        const std::vector<Texts> needles =
            matches(text, "\nOne of the special magic (numbers|uuids) for (" + key + ") is: (" +
                              value + ")\\.");
        std::set<std::string> keys;
        std::string answer;
        for (const Texts& needle : needles) {
          keys.insert(needle[2]);
          if (needle[2] == asked_key[0][1]) answer = needle[3];
        }
        const std::size_t n = needles.size();
        EXPECT_EQ(n, test::count(text, "One of the special")) << name;
        EXPECT_GT(n, 20) << name;
        EXPECT_EQ(keys.size(), n) << name;
        EXPECT_EQ(asked(*task, i).expected, Texts{answer}) << name;
      }
    }
  }
}

TEST_F(Tasks, QuestionsOfOneTextStandAtTheirDepths) {
  const auto task = make("niah_multikey_2", options(8000, 4));
  std::size_t last = 0;
  for (std::size_t i = 0; i < task->specs().size(); ++i) {
    const std::string text = prompt(*task, i);
    const std::size_t end = text.find("\nWhat is the special");
    EXPECT_EQ(text.substr(0, end), prompt(*task, 0).substr(0, end));
    const std::size_t at = text.find(asked(*task, i).expected[0]);
    EXPECT_TRUE(i == 0 || at > last);  // every question another needle, by rising depth
    last = at;
    const double depth = 100 * static_cast<double>(at) / static_cast<double>(end);
    EXPECT_GE(depth, *task->question(i).depth_percent);
    EXPECT_LT(depth, *task->question(i).depth_percent + 25 + 1);
  }
}

TEST_F(Tasks, VariableTrackingHasRulersForm) {
  const auto task = make("vt", options(6000));
  const std::string text = prompt(*task, 0);
  const Texts variables = asked(*task, 0).expected;
  ASSERT_EQ(variables.size(), 5);
  EXPECT_EQ(std::set<std::string>(variables.begin(), variables.end()).size(), 5);
  EXPECT_EQ(asked(*task, 0).n_new, 30);
  const std::vector<Texts> assigned = matches(text, "VAR " + variables[0] + " = ([0-9]{5})\n");
  ASSERT_EQ(assigned.size(), 1);
  const std::string value = assigned[0][1];
  EXPECT_TRUE(text.ends_with(
      "\nQuestion: Find all variables that are assigned the value " + value +
      " in the text above. Answer: According to the chain(s) of variable assignment in the text "
      "above, 5 variables are assigned the value " +
      value + ", they are: "));
  std::size_t at = text.find("VAR " + variables[0]);
  for (std::size_t i = 1; i < 5; ++i) {
    const std::size_t next =
        text.find("VAR " + variables[i] + " = VAR " + variables[i - 1] + " \n");
    ASSERT_NE(next, std::string::npos);
    EXPECT_GT(next, at);
    at = next;
  }
  const std::string opening =
      "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n";
  EXPECT_TRUE(text.starts_with(opening));
  EXPECT_EQ(test::count(text, opening), 2);  // the solved example and the question
  EXPECT_EQ(matches(text, "they are:  [A-Z]{3}( [A-Z]{3}){4}\n\nMemorize").size(), 1);
}

/// The words of "1. apple 2. pear" in order.
Texts numbered_words(const std::string& text) {
  Texts words;
  for (const Texts& match : matches(text, "[0-9]+\\. ([a-z-]+)")) words.push_back(match[1]);
  return words;
}

TEST_F(Tasks, CommonWordsAreTheMostFrequent) {
  for (const auto& [length, n_common, n_uncommon] :
       {std::tuple(3000, 6, 1), std::tuple(9000, 30, 3)}) {
    const auto task = make("cwe", options(length));
    EXPECT_EQ(task->name(), "cwe-like");
    const std::string text = prompt(*task, 0);
    const std::size_t begin = text.rfind(
        "Below is a numbered list of words. In these words, some "
        "appear more often than others. Memorize the ones that "
        "appear most often.\n");
    ASSERT_NE(begin, std::string::npos);
    const std::size_t end = text.rfind(
        "\nQuestion: What are the 10 most common words in the above "
        "list? Answer: The top 10 words that appear most often in "
        "the list are:");
    ASSERT_NE(end, std::string::npos);
    const Texts words = numbered_words(text.substr(begin, end - begin));
    const Texts common = asked(*task, 0).expected;
    EXPECT_EQ(common.size(), 10);
    for (const std::string& word : words) {
      const bool is_common = std::ranges::count(common, word) == 1;
      EXPECT_EQ(std::ranges::count(words, word), is_common ? n_common : n_uncommon) << word;
    }
    for (const std::string& word : common) EXPECT_EQ(std::ranges::count(words, word), n_common);
    // The example before it is solved.
    EXPECT_EQ(
        matches(text, "in the list are: 1\\. [a-z-]+ 2\\. [^\n]* 10\\. [a-z-]+\nBelow is").size(),
        1);
  }
}

TEST_F(Tasks, CodedWordsFollowTheZetaLaw) {
  const auto task = make("fwe", options(8000));
  const std::string text = prompt(*task, 0);
  const std::string head = "Find the three most frequently appeared coded words. ";
  const std::size_t begin = text.find(head) + head.size(), end = text.find("\nQuestion: Do not");
  ASSERT_LT(begin, end);
  std::map<std::string, double> counts;
  std::istringstream words(text.substr(begin, end - begin));
  for (std::string word; words >> word;) ++counts[word];
  const Texts answer = asked(*task, 0).expected;
  ASSERT_EQ(answer.size(), 3);
  EXPECT_EQ(asked(*task, 0).n_new, 50);
  // Rank k stands n / (k^2 zeta(2)) times, rounded down; the dots have rank 1.
  const double first = counts["..."];
  for (std::size_t i = 0; i < 3; ++i) {
    const auto rank = static_cast<double>(i + 2);
    EXPECT_NEAR(counts[answer[i]], first / (rank * rank), 1);
  }
  for (const auto& [word, n] : counts) {
    if (word == "...") continue;
    EXPECT_EQ(matches(word, "^[a-z]{6}$").size(), 1) << word;
    EXPECT_TRUE(std::ranges::count(answer, word) == 1 || n < counts[answer[2]]) << word;
  }
}

TEST_F(Tasks, PlacesTellWhatNeighboursHaveInCommon) {
  TaskOptions options;
  options.lengths = {3000, 6000};
  options.n_depths = 4;
  options.n_samples = 2;
  options.files = {folder_.write("q.jsonl",
                                 "{\"input\": \"abcd\", \"answer\": \"x\"}\n"
                                 "{\"input\": \"abxy\", \"answer\": \"x\"}\n")};
  for (const char* const name :
       {"passkey", "niah_single_1", "niah_multikey_2", "niah_multikey_3", "vt", "jsonl"}) {
    const auto task = make(name, options);
    for (std::size_t i = 1; i < task->specs().size(); ++i) {
      const QuestionSpec& spec = task->specs()[i];
      const auto before = task->question(i - 1).prompt, own = task->question(i).prompt;
      const auto [end, ignored] = std::ranges::mismatch(own, before);
      // An estimate: what surrounds the text, and a key that is longer than another, do not count.
      EXPECT_NEAR(static_cast<double>(spec.n_shared), static_cast<double>(end - own.begin()),
                  0.15 * static_cast<double>(spec.length))
          << name << " " << i;
    }
  }
}

TEST_F(Tasks, FilesOfQuestionsAreTakenAsTheyAre) {
  TaskOptions chosen;
  chosen.files = {folder_.write("a.jsonl",
                                "{\"index\": 0, \"input\": \"How many?\", \"outputs\": [\"2\", "
                                "\"two\"], \"length\": 9, \"answer_prefix\": \" There are\"}\n\n"
                                "{\"input\": \"How far?\", \"answer\": \"far\", \"more\": {}}"),
                  folder_.write("b.jsonl", "{\"input\": \"x\", \"outputs\": \"y\"}\n")};
  chosen.n_new = 7;
  chosen.stop_text = "\n";
  chosen.match = Match::kAny;
  const auto task = make("jsonl", chosen);
  ASSERT_EQ(task->specs().size(), 3);
  EXPECT_EQ(prompt(*task, 0), "How many? There are");
  EXPECT_EQ(asked(*task, 0).expected, (Texts{"2", "two"}));
  EXPECT_EQ(asked(*task, 0).n_new, 7);
  EXPECT_EQ(asked(*task, 0).stop_text, "\n");
  EXPECT_EQ(asked(*task, 0).match, Match::kAny);
  EXPECT_EQ(task->question(0).n_shared, 4);
  EXPECT_EQ(task->specs()[0].length, 19 + 7);
  EXPECT_EQ(asked(*task, 1).expected, Texts{"far"});
  EXPECT_EQ(prompt(*task, 2), "x");
}

TEST_F(Tasks, BadLinesAreNamed) {
  const std::string good = "{\"input\": \"a\", \"outputs\": [\"b\"]}\n";
  for (const auto& [line, complaint] : std::vector<std::pair<std::string, std::string>>{
           {"{\"input\": \"a\", \"outp", "no valid JSON"},
           {"[1]", "expected a JSON object"},
           {std::string("{\"input\": \"a\", \"outputs\": [\"b\"]}\0{}", 34), "a zero byte"},
           {"{\"input\": \"a\", \"outputs\": " + std::string(100'000, '['), "inside one another"},
           {"{\"input\": \"a\", \"input\": \"c\", \"outputs\": [\"b\"]}", "key \"input\""},
           {"{\"outputs\": [\"b\"]}", "\"input\""},
           {"{\"input\": 3, \"outputs\": [\"b\"]}", "\"input\""},
           {"{\"input\": \"\", \"outputs\": [\"b\"]}", "\"input\""},
           {"{\"input\": \"a\"}", "\"outputs\" or \"answer\""},
           {"{\"input\": \"a\", \"outputs\": []}", "\"outputs\""},
           {"{\"input\": \"a\", \"outputs\": [1]}", "\"outputs\""},
           {"{\"input\": \"a\", \"outputs\": [\"b\", \"\"]}", "\"outputs\""},
           {"{\"input\": \"a\", \"answer\": null}", "\"answer\""},
           {"{\"input\": \"a\", \"answer\": \"b\", \"answer_prefix\": 1}", "\"answer_prefix\""}}) {
    TaskOptions chosen;
    chosen.files = {folder_.write("q.jsonl", good + "\n" + line + "\n" + good)};
    test::expect_refused([&] { make("jsonl", chosen); }, std::string("q.jsonl line 3: "),
                         complaint);
  }
  TaskOptions chosen;
  chosen.files = {folder_.write("empty.jsonl", "\n\n")};
  test::expect_refused([&] { make("jsonl", chosen); }, std::string("empty.jsonl"));
  chosen.files = {folder_.path() / "none.jsonl"};
  test::expect_refused([&] { make("jsonl", chosen); }, std::string("none.jsonl"));
  chosen.files = {folder_.path()};
  test::expect_refused([&] { make("jsonl", chosen); }, folder_.path().string());
}

TEST_F(Tasks, LossTakesTextsOfEnoughTokens) {
  TaskOptions chosen;
  chosen.lengths = {4, 8};
  chosen.n_skipped = 2;
  chosen.n_samples = 10;
  // A length needs one token more than predictions.
  chosen.files = {folder_.write("a.txt", "ab12345678X"), folder_.write("b.txt", "ab12345678"),
                  folder_.write("c.txt", "ab1234"),
                  folder_.write("d.jsonl", "{\"text\": \"ab12345\"}\n")};
  const auto task = make("loss", chosen);
  ASSERT_EQ(task->specs().size(), 3);
  const auto bounds = [&](std::size_t i) {
    return std::get<ToPredict>(task->question(i).asked).bounds;
  };
  EXPECT_EQ(prompt(*task, 0), "12345678X");
  EXPECT_EQ(bounds(0), (std::vector<std::size_t>{0, 4, 8}));
  EXPECT_EQ(prompt(*task, 1), "12345");
  EXPECT_EQ(bounds(1), (std::vector<std::size_t>{0, 4}));
  EXPECT_EQ(prompt(*task, 2), "12345");
  chosen.n_samples = 1;
  EXPECT_EQ(make("loss", chosen)->specs().size(), 1);
  chosen.n_skipped = 11;
  test::expect_refused([&] { make("loss", chosen); }, std::string("--texts"));
  chosen.files = {folder_.write("e.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"a\"}\n")};
  test::expect_refused([&] { make("loss", chosen); }, std::string("e.jsonl line 2"),
                       std::string("\"text\""));
}

TEST(LargestFitting, FindsItWhateverTheGrowth) {
  class Plain final : public Task {
   public:
    Plain() : Task("plain", {}) {}
    Question question(std::size_t) const override { return {}; }
  };
  const Plain task;
  const std::vector<std::function<std::size_t(std::size_t)>> growths{
      [](std::size_t n) { return n; }, [](std::size_t n) { return 7 + 13 * n; },
      [](std::size_t n) { return n / 3; }, [](std::size_t n) { return n * n; },
      [](std::size_t n) { return 100 * (n / 50); }};
  for (const auto& count : growths) {
    for (const std::size_t limit : {7, 8, 20, 99, 100, 101, 1000, 12345}) {
      std::size_t n_asked = 0;
      const auto counted = [&](std::size_t n) {
        ++n_asked;
        return count(n);
      };
      const std::size_t size = largest_fitting(task, limit, 0, counted);
      EXPECT_LE(count(size), limit);
      EXPECT_GT(count(size + 1), limit);
      EXPECT_LE(n_asked, 40);
    }
  }
  test::expect_refused([&] { largest_fitting(task, 9, 10, [](std::size_t n) { return n; }); },
                       std::string("plain needs about 10 tokens at least, found 9"));
}

TEST(Words, AreOnesOwnAndDifferent) {
  std::set<std::string_view> words;
  for (const auto list : {adjectives(), nouns()}) {
    for (const auto word : list) {
      EXPECT_TRUE(words.insert(word).second) << word;
      EXPECT_EQ(matches(std::string(word), "^[a-z]{2,12}$").size(), 1) << word;
    }
  }
  EXPECT_GT(adjectives().size() * nouns().size(), 200'000);
  Random random("test", {});
  for (const std::size_t n : {5UL, words.size(), words.size() + 1}) {
    const Texts drawn = different_words(random, n);
    EXPECT_GE(drawn.size(), n);
    EXPECT_EQ(std::set<std::string>(drawn.begin(), drawn.end()).size(), drawn.size());
    EXPECT_EQ(drawn[0].find('-') == std::string::npos, n <= words.size());
  }
  test::expect_refused([&] { different_words(random, 1'000'000'000); }, std::string("--lengths"));
}

}  // namespace
}  // namespace longreach::eval
