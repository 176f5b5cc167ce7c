#include "eval/generate.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>

namespace longreach::eval {
namespace {

/// The first step up from the least size, before it is known how counts grow.
constexpr std::size_t kFirstStep = 32;
/// From then on the search halves what is left, whatever the growth seems to be.
constexpr int kGuesses = 12;
constexpr int kMostGuesses = 1000;
/// No vocabulary in use has longer tokens.
constexpr std::size_t kLongestTokenBytes = 128;

}  // namespace

std::vector<QuestionSpec> grid_specs(const TaskOptions& options, Common common) {
  std::vector<QuestionSpec> specs;
  for (const std::size_t length : options.lengths) {
    for (std::size_t depth = 0; depth < std::max<std::size_t>(1, options.n_depths); ++depth) {
      for (std::size_t sample = 0; sample < options.n_samples; ++sample) {
        QuestionSpec& spec = specs.emplace_back(QuestionSpec{length, std::nullopt, sample});
        if (options.n_depths == 0) continue;
        spec.depth = Depth{depth, options.n_depths};
        const bool is_first = depth == 0 && sample == 0;
        if (is_first || common == Common::kNothing) continue;
        // The needle of the question before may stand at the depth before.
        const std::size_t until = sample > 0 ? depth : depth - 1;
        spec.n_shared = common == Common::kText ? length : length * until / options.n_depths;
      }
    }
  }
  return specs;
}

Random question_random(const Task& task, const QuestionSpec& spec, std::uint64_t seed) {
  const Depth depth = spec.depth.value_or(Depth{});
  return {task.name(), {seed, spec.length, depth.index, depth.count, spec.sample}};
}

std::size_t largest_fitting(const Task& task, std::size_t limit, std::size_t least,
                            const CountTokens& count) {
  const std::size_t least_count = count(least);
  if (least_count > limit) {
    base::input_error("--lengths: {} needs about {} tokens at least, found {}", task.name(),
                      least_count, limit);
  }
  std::size_t low = least, low_count = least_count;  // fits
  std::optional<std::size_t> high;                   // does not
  double tokens_per_unit = 0;
  for (int n_asked = 0; !high || *high - low > 1; ++n_asked) {
    std::size_t step = kFirstStep;
    if (tokens_per_unit > 0) {
      step = static_cast<std::size_t>(static_cast<double>(limit - low_count) / tokens_per_unit);
    }
    if (high && n_asked > kGuesses) step = (*high - low) / 2;
    step = std::max<std::size_t>(step, 1);
    const std::size_t size = low + (high ? std::min(step, *high - low - 1) : step);
    const std::size_t size_count = count(size);
    LR_CHECK(n_asked < kMostGuesses);  // it grows, as required
    tokens_per_unit = (static_cast<double>(size_count) - static_cast<double>(least_count)) /
                      static_cast<double>(size - least);
    if (size_count <= limit) {
      low = size;
      low_count = size_count;
    } else {
      high = size;
    }
  }
  return low;
}

std::size_t shared_tokens(const model::Tokenizer& tokenizer,
                          const std::vector<base::TokenId>& prompt, std::size_t n_bytes) {
  std::size_t n_passed = 0;
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    if (n_passed + kLongestTokenBytes > n_bytes) return i;
    n_passed += tokenizer.bytes(prompt[i]).size();
  }
  return prompt.size();
}

partition::Range tokens_holding(const model::Tokenizer& tokenizer,
                                std::span<const base::TokenId> prompt, std::size_t first,
                                std::size_t n_bytes) {
  partition::Range tokens;
  std::size_t n_passed = 0;
  for (; tokens.end < prompt.size() && n_passed < first + n_bytes; ++tokens.end) {
    n_passed += tokenizer.bytes(prompt[tokens.end]).size();
    if (n_passed <= first) tokens.begin = tokens.end + 1;
  }
  return tokens;
}

}  // namespace longreach::eval
