/// What a task is: a list of questions, any of which can be made at any time from its number. The
/// texts depend on the task, the question's spec and the seed alone, never on the order of asking.
#pragma once

#include "eval/scoring.hpp"
#include "kernels/base/types.hpp"
#include "model/tokenizer/tokenizer.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::eval {

/// What the user may choose about a task. A task reads what its kind takes (see tasks.hpp).
struct TaskOptions {
  std::vector<std::size_t> lengths;  ///< Tokens of prompt and answer together.
  std::size_t n_depths = 0;          ///< 0: where the origin puts needles, or no depth at all.
  std::size_t n_samples = 5;         ///< Questions of each length and depth, or texts at most.
  std::uint64_t seed = 0;            ///< Of generated texts.
  std::optional<std::size_t> n_new;  ///< Tokens of an answer at most; default: the task's.
  std::string stop_text;             ///< Ends an answer; empty: only the end token does.
  std::vector<std::filesystem::path> files;
  Match match = Match::kAll;    ///< For questions from a file.
  std::size_t n_skipped = 0;    ///< Tokens left out at the beginning of a text.
  bool wants_evidence = false;  ///< Whether answers look at the needle, of tasks that have one.
};

/// A share of the text before the needle: index / count of it.
struct Depth {
  std::size_t index = 0, count = 1;
  double percent() const { return 100 * static_cast<double>(index) / static_cast<double>(count); }
};

/// What a question is asked with: its cell in the grid of lengths and depths, and its sample there.
struct QuestionSpec {
  std::size_t length = 0;  ///< Tokens of prompt and answer, at most.
  std::optional<Depth> depth;
  std::size_t sample = 0;
  /// About how many of the prompt's first tokens the question before it has, too. Decides who is
  /// asked what, and no result.
  std::size_t n_shared = 0;
};

/// An answer is to be generated, greedily.
struct ToAnswer {
  std::size_t n_new = 0;  ///< Tokens at most.
  std::string stop_text;  ///< Ends the answer and is not part of it; empty: none.
  std::vector<std::string> expected;
  Match match = Match::kAll;
};

/// The loss of the prompt's own tokens is to be measured: in nats, averaged from each bound to the
/// next one. Bound n stands before the n-th prediction, that of token n + 1 from tokens 0 .. n.
struct ToPredict {
  std::vector<std::size_t> bounds;
};

/// A question, ready to be asked.
struct Question {
  std::vector<base::TokenId> prompt;
  /// How many of its first tokens the next questions are likely to begin with, too. A hint.
  std::size_t n_shared = 0;
  std::optional<double> depth_percent;  ///< Where the needle really is, if there is one.
  std::variant<ToAnswer, ToPredict> asked;
  /// The tokens of the sentence that holds the answer, if it is asked whether the answer looks
  /// there.
  std::optional<partition::Range> needle = {};
};

/// The questions of one run. Const methods are safe to call from several threads.
class Task {
 public:
  Task(std::string name, std::vector<QuestionSpec> specs)
      : name_(std::move(name)), specs_(std::move(specs)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  /// As in results. "-like" at its end: the origin's form with words of our own.
  const std::string& name() const { return name_; }
  /// One for each question, in the order of asking: questions with a common beginning are
  /// neighbours.
  const std::vector<QuestionSpec>& specs() const { return specs_; }
  /// Makes a question; index < specs().size(). Errors: InputError, for example for a text with
  /// bytes that the vocabulary lacks.
  virtual Question question(std::size_t index) const = 0;

 private:
  std::string name_;
  std::vector<QuestionSpec> specs_;
};

}  // namespace longreach::eval
