#include "generation/step_cost.hpp"

#include <algorithm>
#include <bit>

namespace longreach::generation {
namespace {

/// The weight of the newest time in a mean.
constexpr double kNewest = 0.25;
/// Before a step of both kinds was measured.
constexpr std::size_t kFirstPromptRows = 16;

std::size_t bucket_of(std::size_t n_rows) {
  return static_cast<std::size_t>(std::bit_width(n_rows));
}

void move_towards(double& mean, double value) { mean += kNewest * (value - mean); }

}  // namespace

void StepCost::observe(StepRows rows, double seconds) {
  if (rows.n_decoding == 0) return;  // nobody waits for steps of prompts alone
  const auto n_decoding = static_cast<double>(rows.n_decoding);
  if (rows.n_prompt == 0) {
    auto& mean = decoding_[bucket_of(rows.n_decoding)];
    if (!mean) {
      mean = Mean{n_decoding, seconds};
    } else {
      move_towards(mean->n_rows, n_decoding);
      move_towards(mean->seconds, seconds);
    }
    return;
  }
  const double alone = decoding_seconds(rows.n_decoding).value_or(0);
  const double added = std::max(seconds - alone, 0.0) / static_cast<double>(rows.n_prompt);
  if (n_prompt_rows_ == 0) {
    seconds_per_prompt_row_ = added;
  } else {
    move_towards(seconds_per_prompt_row_, added);
  }
  n_prompt_rows_ = rows.n_prompt;
}

std::optional<double> StepCost::decoding_seconds(std::size_t n_decoding) const {
  const auto& mean = decoding_[bucket_of(n_decoding)];
  if (!mean) return std::nullopt;
  // Between reading the weights once, whatever the rows, and arithmetic for each of them.
  const double ratio = static_cast<double>(n_decoding) / mean->n_rows;
  return mean->seconds * std::max(ratio, 1.0);
}

std::size_t StepCost::prompt_rows_within(double seconds, std::size_t n_decoding) const {
  std::size_t n_rows = kFirstPromptRows;
  if (n_prompt_rows_ > 0) {
    // More rows cost less each: the number grows by and by to where that is measured.
    const std::size_t most = 2 * n_prompt_rows_;
    const double left = std::max(seconds - decoding_seconds(n_decoding).value_or(0), 0.0);
    const bool all = left >= static_cast<double>(most) * seconds_per_prompt_row_;
    n_rows = all ? most : static_cast<std::size_t>(left / seconds_per_prompt_row_);
  }
  return std::max(n_rows, kLeastPromptRows);
}

}  // namespace longreach::generation
