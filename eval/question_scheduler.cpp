#include "eval/question_scheduler.hpp"

#include <algorithm>

namespace longreach::eval {

QuestionScheduler::QuestionScheduler(std::span<const QuestionSpec> specs,
                                     const std::map<std::size_t, Result>& results,
                                     std::size_t n_replicas)
    : own_(n_replicas) {
  std::size_t n_shared = 0;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    // What two questions have in common, those between them have, too.
    const bool follows_skipped = i > 0 && results.contains(i - 1);
    n_shared = follows_skipped ? std::min(n_shared, specs[i].n_shared) : specs[i].n_shared;
    if (results.contains(i)) continue;
    const bool begins_run = todo_.empty() || 2 * n_shared <= specs[i].length;
    if (begins_run) runs_.push_back({todo_.size(), todo_.size()});
    todo_.push_back({i, specs[i].length, n_shared});
    runs_.back().end = todo_.size();
  }
}

double QuestionScheduler::cost(Run run) const {
  double n_tokens = 0;
  for (std::size_t i = run.begin; i < run.end; ++i) {
    n_tokens +=
        static_cast<double>(todo_[i].n_tokens - std::min(todo_[i].n_tokens, todo_[i].n_shared));
  }
  return n_tokens;
}

QuestionScheduler::Run QuestionScheduler::taken_over() {
  Run& longest = *std::ranges::max_element(own_, {}, [this](Run run) { return cost(run); });
  const Run second{longest.begin + longest.size() / 2, longest.end};
  if (second.size() == 0) return {};
  // Who takes it over has to read what its first question has in common with those before.
  const double read_again = static_cast<double>(todo_[second.begin].n_shared);
  if (read_again + cost(second) >= cost(longest)) return {};
  longest.end = second.begin;
  return second;
}

std::optional<std::size_t> QuestionScheduler::next(std::size_t replica) {
  Run& own = own_[replica];
  if (own.size() == 0) own = n_begun_ < runs_.size() ? runs_[n_begun_++] : taken_over();
  if (own.size() == 0) return std::nullopt;
  return todo_[own.begin++].index;
}

}  // namespace longreach::eval
