#include "eval/variable_tracking.hpp"

#include "eval/generate.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace longreach::eval {
namespace {

constexpr std::size_t kNewTokens = 30;
constexpr std::size_t kVariables = 5;  // a value and 4 hops
constexpr std::size_t kLetters = 5;
constexpr std::size_t kExampleLetters = 3;
constexpr std::size_t kExampleTokens = 500;  // that the example may have
constexpr std::size_t kLeastNoise = 5;       // lines; the origin's, and the chain needs as many
constexpr std::string_view kCapitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A prompt up to where the answer begins, and the variables that are the answer.
struct Chain {
  std::string prompt;
  std::vector<std::string> variables;
};

std::vector<std::string> draw_variables(Random& random, std::size_t n_letters) {
  std::vector<std::string> variables;
  while (variables.size() < kVariables) {
    std::string variable = random.text(kCapitals, n_letters);
    if (std::ranges::find(variables, variable) == variables.end()) {
      variables.push_back(std::move(variable));
    }
  }
  return variables;
}

/// Which lines of noise the chain's sentences stand before, rising.
std::vector<std::size_t> draw_positions(Random& random, std::size_t n_lines) {
  std::vector<std::size_t> positions;
  while (positions.size() < kVariables) {
    const std::size_t position = random.below(n_lines);
    if (std::ranges::find(positions, position) == positions.end()) positions.push_back(position);
  }
  std::ranges::sort(positions);
  return positions;
}

Chain make_chain(Random& random, std::size_t n_letters, std::size_t n_noise) {
  Chain chain{{}, draw_variables(random, n_letters)};
  const std::uint64_t value = random.between(10'000, 99'998);
  const std::vector<std::size_t> positions = draw_positions(random, n_noise);
  std::string context;
  std::size_t next = 0;
  for (std::size_t line = 0; line < n_noise; ++line) {
    if (next < kVariables && positions[next] == line) {
      // The blank at the end of a hop is the origin's.
      context += next == 0 ? fmt::format("VAR {} = {}\n", chain.variables[0], value)
                           : fmt::format("VAR {} = VAR {} \n", chain.variables[next],
                                         chain.variables[next - 1]);
      ++next;
    }
    context += kGarbage;
    context += '\n';
  }
  chain.prompt = fmt::format(
      "Memorize and track the chain(s) of variable assignment hidden in the following "
      "text.\n\n{}Question: Find all variables that are assigned the value {} in the text above. "
      "Answer: According to the chain(s) of variable assignment in the text above, {} variables "
      "are assigned the value {}, they are: ",
      context, value, kVariables, value);
  return chain;
}

class VariableTracking final : public Task {
 public:
  VariableTracking(const TaskOptions& options, const model::Tokenizer& tokenizer)
      : Task("vt", grid_specs(options)),
        seed_(options.seed),
        n_new_(options.n_new.value_or(kNewTokens)),
        stop_text_(options.stop_text),
        tokenizer_(tokenizer) {
    const auto example_tokens = [this](std::size_t n_noise) {
      Random random(name(), {});
      return count_tokens(make_chain(random, kExampleLetters, n_noise).prompt);
    };
    while (example_tokens(n_example_noise_ + 1) <= kExampleTokens) ++n_example_noise_;
  }

  Question question(std::size_t index) const override {
    const QuestionSpec& spec = specs()[index];
    const Random random = question_random(*this, spec, seed_);
    const std::size_t n_noise = largest_fitting(
        *this, spec.length, kLeastNoise,
        [&](std::size_t n) { return count_tokens(solved_and_asked(random, n).prompt) + n_new_; });
    const Chain chain = solved_and_asked(random, n_noise);
    Question question;
    question.prompt = tokenizer_.encode(chain.prompt);
    question.asked = ToAnswer{n_new_, stop_text_, chain.variables, Match::kAll};
    return question;
  }

 private:
  std::size_t count_tokens(const std::string& text) const { return tokenizer_.encode(text).size(); }

  /// The solved example, with the two line ends behind it.
  static std::string example(Random random, std::size_t n_noise) {
    const Chain chain = make_chain(random, kExampleLetters, n_noise);
    return fmt::format("{} {}\n\n", chain.prompt, fmt::join(chain.variables, " "));
  }

  Chain solved_and_asked(Random random, std::size_t n_noise) const {
    std::string solved = example(Random("vt example", {random.bits()}), n_example_noise_);
    Chain chain = make_chain(random, kLetters, n_noise);
    chain.prompt.insert(0, solved);
    return chain;
  }

  std::uint64_t seed_;
  std::size_t n_new_;
  std::string stop_text_;
  const model::Tokenizer& tokenizer_;
  std::size_t n_example_noise_ = kLeastNoise;
};

}  // namespace

std::unique_ptr<Task> make_vt(const TaskOptions& options, const model::Tokenizer& tokenizer) {
  return std::make_unique<VariableTracking>(options, tokenizer);
}

}  // namespace longreach::eval
