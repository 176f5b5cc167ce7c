/// What tasks that write their own texts share: the specs of a grid, sizes that fit a length in
/// tokens, and where the common beginning of neighbours ends.
#pragma once

#include "eval/random.hpp"
#include "eval/task.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace longreach::eval {

/// The noise of landmark attention, which RULER took over.
inline constexpr std::string_view kGarbage =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// What neighbouring questions of one length begin with.
enum class Common {
  kNothing,      ///< Every question has a text of its own.
  kUntilNeedle,  ///< What stands before the needle is the same noise.
  kText,         ///< All ask about one text.
};

/// The specs of lengths x depths (if any) x samples, lengths outermost. Without depths neighbours
/// have nothing in common.
std::vector<QuestionSpec> grid_specs(const TaskOptions& options, Common common = Common::kNothing);

/// The random stream of the question with this spec.
Random question_random(const Task& task, const QuestionSpec& spec, std::uint64_t seed);

/// How many tokens a text of `size` units has.
using CountTokens = std::function<std::size_t(std::size_t size)>;

/// The largest size >= least with count(size) <= limit, if `count` grows with it; asks for few
/// counts where they grow evenly. Where they do not always grow, the result fits all the same.
/// Errors: InputError that names the length the task needs, if `least` does not fit.
std::size_t largest_fitting(const Task& task, std::size_t limit, std::size_t least,
                            const CountTokens& count);

/// How many of the prompt's tokens stand for its first n_bytes, less as many as may be cut
/// otherwise when something else follows these bytes.
std::size_t shared_tokens(const model::Tokenizer& tokenizer,
                          const std::vector<base::TokenId>& prompt, std::size_t n_bytes);

/// The tokens of the prompt that hold any of the bytes first .. first + n_bytes - 1 of its text.
partition::Range tokens_holding(const model::Tokenizer& tokenizer,
                                std::span<const base::TokenId> prompt, std::size_t first,
                                std::size_t n_bytes);

}  // namespace longreach::eval
