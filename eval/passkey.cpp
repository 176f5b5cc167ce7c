#include "eval/passkey.hpp"

#include "eval/generate.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace longreach::eval {
namespace {

constexpr std::string_view kOpening =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there.";
constexpr std::string_view kQuestion = "What is the pass key? The pass key is";
constexpr std::uint64_t kLargestKey = 50000;
/// Tokens left free, because a garbage line that ends inside a word may take some more.
constexpr std::size_t kCutTokens = 4;

/// The repeated sentences, cut after n_bytes.
std::string garbage(std::size_t n_bytes) {
  std::string text;
  text.reserve(n_bytes + kGarbage.size() + 1);
  while (text.size() < n_bytes) {
    if (!text.empty()) text += ' ';
    text += kGarbage;
  }
  text.resize(n_bytes);
  return text;
}

std::string needle_text(std::uint64_t key) {
  return fmt::format("The pass key is {}. Remember it. {} is the pass key.", key, key);
}

std::string prompt_text(std::uint64_t key, std::size_t n_before, std::size_t n_behind) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", kOpening, garbage(n_before), needle_text(key),
                     garbage(n_behind), kQuestion);
}

/// As it follows the prompt. A vocabulary that joins the blank to the first digits takes no more
/// tokens for it; one that does not needs the token.
std::string answer_text(std::uint64_t key) { return fmt::format(" {}", key); }

class Passkey final : public Task {
 public:
  Passkey(const TaskOptions& options, const model::Tokenizer& tokenizer)
      : Task("passkey", grid_specs(options, Common::kUntilNeedle)),
        seed_(options.seed),
        wants_evidence_(options.wants_evidence),
        tokenizer_(tokenizer) {
    const std::size_t n_answer = tokenizer.encode(answer_text(kLargestKey)).size();
    for (const std::size_t length : options.lengths) {
      garbage_bytes_[length] = largest_fitting(*this, length, 0, [&](std::size_t n_bytes) {
        return tokenizer.encode(prompt_text(kLargestKey, 0, n_bytes)).size() + n_answer +
               kCutTokens;
      });
    }
  }

  Question question(std::size_t index) const override {
    const QuestionSpec& spec = specs()[index];
    const std::uint64_t key = question_random(*this, spec, seed_).between(1, kLargestKey);
    const std::size_t n_bytes = garbage_bytes_.at(spec.length);
    const std::size_t n_before = n_bytes * spec.depth->index / spec.depth->count;
    Question question;
    question.prompt = tokenizer_.encode(prompt_text(key, n_before, n_bytes - n_before));
    const std::size_t n_bytes_shared = kOpening.size() + 1 + n_before;
    question.n_shared = shared_tokens(tokenizer_, question.prompt, n_bytes_shared);
    if (wants_evidence_) {
      question.needle =
          tokens_holding(tokenizer_, question.prompt, n_bytes_shared + 1, needle_text(key).size());
    }
    question.depth_percent = spec.depth->percent();
    question.asked = ToAnswer{.n_new = tokenizer_.encode(answer_text(key)).size(),
                              .stop_text = {},
                              .expected = {std::to_string(key)},
                              .match = Match::kExact};
    return question;
  }

 private:
  std::uint64_t seed_;
  bool wants_evidence_;
  const model::Tokenizer& tokenizer_;
  std::map<std::size_t, std::size_t> garbage_bytes_;  // by length
};

}  // namespace

std::unique_ptr<Task> make_passkey(const TaskOptions& options, const model::Tokenizer& tokenizer) {
  return std::make_unique<Passkey>(options, tokenizer);
}

}  // namespace longreach::eval
