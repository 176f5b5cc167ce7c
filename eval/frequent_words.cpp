#include "eval/frequent_words.hpp"

#include "eval/generate.hpp"
#include "eval/words.hpp"
#include "kernels/base/error.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numbers>
#include <span>
#include <unordered_set>

namespace longreach::eval {
namespace {

using Words = std::vector<std::string>;

// cwe
constexpr std::size_t kCommonNewTokens = 120;
constexpr std::size_t kCommonWords = 10;
constexpr std::size_t kLongTokens = 4096;  ///< Shorter texts have fewer repetitions.

// fwe
constexpr std::size_t kCodedNewTokens = 50;
constexpr std::size_t kCodedAnswers = 3;
constexpr std::size_t kCodedLetters = 6;
constexpr std::size_t kTokensPerCodedWord = 50;  ///< The vocabulary grows with the length.
constexpr double kZeta2 = std::numbers::pi * std::numbers::pi / 6;  ///< zeta(2)
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz";

struct WordList {
  std::size_t n_words;     ///< Different ones.
  std::size_t n_common;    ///< How often each of the common words stands in the list.
  std::size_t n_uncommon;  ///< How often each other word does.
};

/// "1. word 2. word ..."
std::string numbered(std::span<const std::string> words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    fmt::format_to(std::back_inserter(text), "{}{}. {}", i == 0 ? "" : " ", i + 1, words[i]);
  }
  return text;
}

/// A question, whose answer is the first kCommonWords of `words`.
std::string common_words_prompt(Random& random, const WordList& list, const Words& words) {
  Words shuffled;
  for (std::size_t i = 0; i < list.n_words; ++i) {
    shuffled.insert(shuffled.end(), i < kCommonWords ? list.n_common : list.n_uncommon, words[i]);
  }
  random.shuffle(shuffled);
  return fmt::format(
      "Below is a numbered list of words. In these words, some appear more often than others. "
      "Memorize the ones that appear most often.\n{}\nQuestion: What are the 10 most common words "
      "in the above list? Answer: The top 10 words that appear most often in the list are:",
      numbered(shuffled));
}

class CommonWords final : public Task {
 public:
  CommonWords(const TaskOptions& options, const model::Tokenizer& tokenizer)
      : Task("cwe-like", grid_specs(options)),
        seed_(options.seed),
        n_new_(options.n_new.value_or(kCommonNewTokens)),
        stop_text_(options.stop_text),
        tokenizer_(tokenizer) {}

  Question question(std::size_t index) const override {
    const QuestionSpec& spec = specs()[index];
    const std::size_t n_words =
        largest_fitting(*this, spec.length, kCommonWords + 1, [&](std::size_t n) {
          return tokenizer_.encode(solved_and_asked(spec, n).first).size() + n_new_;
        });
    auto [prompt, answer] = solved_and_asked(spec, n_words);
    Question question;
    question.prompt = tokenizer_.encode(prompt);
    question.asked = ToAnswer{n_new_, stop_text_, std::move(answer), Match::kAll};
    return question;
  }

 private:
  /// The prompt, and its answer.
  std::pair<std::string, Words> solved_and_asked(const QuestionSpec& spec,
                                                 std::size_t n_words) const {
    const bool is_long = spec.length >= kLongTokens;
    const WordList example_list = is_long ? WordList{40, 10, 3} : WordList{20, 3, 1};
    const WordList list = is_long ? WordList{n_words, 30, 3} : WordList{n_words, 6, 1};
    Random random = question_random(*this, spec, seed_);
    const Words example_words = different_words(random, example_list.n_words);
    const std::string example = common_words_prompt(random, example_list, example_words);
    const Words words = different_words(random, n_words);
    const std::string prompt = common_words_prompt(random, list, words);
    const auto common = [](const Words& all) { return std::span(all).first(kCommonWords); };
    return {fmt::format("{} {}\n{}", example, numbered(common(example_words)), prompt),
            Words(common(words).begin(), common(words).end())};
  }

  std::uint64_t seed_;
  std::size_t n_new_;
  std::string stop_text_;
  const model::Tokenizer& tokenizer_;
};

class CodedWords final : public Task {
 public:
  CodedWords(const TaskOptions& options, const model::Tokenizer& tokenizer)
      : Task("fwe", grid_specs(options)),
        seed_(options.seed),
        n_new_(options.n_new.value_or(kCodedNewTokens)),
        stop_text_(options.stop_text),
        tokenizer_(tokenizer) {}

  Question question(std::size_t index) const override {
    const QuestionSpec& spec = specs()[index];
    const Words words = coded_words(spec);
    const std::size_t n_drawn =
        largest_fitting(*this, spec.length, least_drawn(), [&](std::size_t n) {
          return tokenizer_.encode(coded_prompt(spec, words, n)).size() + n_new_;
        });
    Question question;
    question.prompt = tokenizer_.encode(coded_prompt(spec, words, n_drawn));
    question.asked =
        ToAnswer{n_new_, stop_text_, Words(words.begin() + 1, words.begin() + 1 + kCodedAnswers),
                 Match::kAll};
    return question;
  }

 private:
  /// Different words by falling frequency; the first one is noise.
  Words coded_words(const QuestionSpec& spec) const {
    const std::size_t n_prompt = spec.length - std::min(spec.length, n_new_);
    const std::size_t n_words = std::max(kCodedAnswers + 2, n_prompt / kTokensPerCodedWord);
    Random random = question_random(*this, spec, seed_);
    std::unordered_set<std::string> seen;
    Words words{"..."};
    while (words.size() < n_words) {
      std::string word = random.text(kAlphabet, kCodedLetters);
      if (seen.insert(word).second) words.push_back(std::move(word));
    }
    return words;
  }

  /// How often the word of a rank (from 1) stands in a text for which n words were drawn.
  static std::size_t frequency(std::size_t n_drawn, std::size_t rank) {
    const auto k = static_cast<double>(rank);
    return static_cast<std::size_t>(static_cast<double>(n_drawn) / (k * k) / kZeta2);
  }

  /// So many that the last word of the answer is more frequent than the next one, however its
  /// frequency is rounded.
  static std::size_t least_drawn() {
    constexpr double kLast = kCodedAnswers + 1, kNext = kLast + 1;
    return static_cast<std::size_t>(kZeta2 / (1 / (kLast * kLast) - 1 / (kNext * kNext))) + 1;
  }

  std::string coded_prompt(const QuestionSpec& spec, const Words& words,
                           std::size_t n_drawn) const {
    Words shuffled;
    for (std::size_t i = 0; i < words.size(); ++i) {
      shuffled.insert(shuffled.end(), frequency(n_drawn, i + 1), words[i]);
    }
    Random random("fwe order", {seed_, spec.length, spec.sample});
    random.shuffle(shuffled);
    return fmt::format(
        "Read the following coded text and track the frequency of each coded word. Find the three "
        "most frequently appeared coded words. {}\nQuestion: Do not provide any explanation. "
        "Please "
        "ignore the dots '....'. What are the three most frequently appeared words in the above "
        "coded text? Answer: According to the coded text above, the three most frequently appeared "
        "words are:",
        fmt::join(shuffled, " "));
  }

  std::uint64_t seed_;
  std::size_t n_new_;
  std::string stop_text_;
  const model::Tokenizer& tokenizer_;
};

}  // namespace

std::unique_ptr<Task> make_cwe(const TaskOptions& options, const model::Tokenizer& tokenizer) {
  return std::make_unique<CommonWords>(options, tokenizer);
}

std::unique_ptr<Task> make_fwe(const TaskOptions& options, const model::Tokenizer& tokenizer) {
  return std::make_unique<CodedWords>(options, tokenizer);
}

}  // namespace longreach::eval
