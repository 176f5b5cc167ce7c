#include "generation/step_cost.hpp"

#include <algorithm>
#include <bit>

namespace longreach::generation {
namespace {

/// Before a step of both kinds was measured.
constexpr std::size_t kFirstPromptRows = 16;

std::size_t bucket_of(std::size_t n_rows) {
  return static_cast<std::size_t>(std::bit_width(n_rows));
}

/// Appends a time, of which the newest n_most stay.
template <typename Time>
void push(std::vector<Time>& times, std::size_t n_most, Time time) {
  times.push_back(time);
  if (times.size() > n_most) times.erase(times.begin());
}

}  // namespace

void StepCost::observe(StepRows rows, double seconds) {
  if (rows.n_decoding == 0) return;
  const auto n_decoding = static_cast<double>(rows.n_decoding);
  if (rows.n_prompt == 0) {
    push(decoding_[bucket_of(rows.n_decoding)], kDecodingTimes, {n_decoding, seconds});
    return;
  }
  const double alone = decoding_seconds(rows.n_decoding).value_or(0);
  push(added_, kPromptTimes, {static_cast<double>(rows.n_prompt), std::max(seconds - alone, 0.0)});
}

std::optional<double> StepCost::decoding_seconds(std::size_t n_decoding) const {
  std::vector<Time> times = decoding_[bucket_of(n_decoding)];
  if (times.size() < kLeastTimes) return std::nullopt;
  std::ranges::sort(times, {}, &Time::seconds);
  const Time& median = times[(times.size() - 1) / 2];  // of two, the smaller
  // Between reading the weights once, whatever the rows, and arithmetic for each of them.
  return median.seconds * std::max(static_cast<double>(n_decoding) / median.n_rows, 1.0);
}

std::size_t StepCost::prompt_rows_within(double seconds, std::size_t n_decoding) const {
  if (added_.empty()) return kFirstPromptRows;
  Time sum, slowest;
  double most = 0;
  for (const Time& time : added_) {
    sum.n_rows += time.n_rows;
    sum.seconds += time.seconds;
    if (time.seconds * slowest.n_rows >= slowest.seconds * time.n_rows) slowest = time;
    most = std::max(most, time.n_rows);
  }
  if (added_.size() > 1) {
    sum.n_rows -= slowest.n_rows;
    sum.seconds = std::max(sum.seconds - slowest.seconds, 0.0);
  }
  // More rows cost less each: the number grows by and by to where that is measured.
  const double left = std::max(seconds - decoding_seconds(n_decoding).value_or(0), 0.0);
  if (left == 0) return kLeastPromptRows;
  const bool all = left * sum.n_rows >= 2 * most * sum.seconds;
  const double n_rows = all ? 2 * most : left * sum.n_rows / sum.seconds;
  return std::max(static_cast<std::size_t>(n_rows), kLeastPromptRows);
}

}  // namespace longreach::generation
