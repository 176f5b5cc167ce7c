#include "eval/question_scheduler.hpp"

#include <algorithm>

namespace longreach::eval {

QuestionScheduler::QuestionScheduler(std::span<const QuestionSpec> specs,
                                     const std::map<std::size_t, Result>& results,
                                     std::size_t n_replicas)
    : replicas_(n_replicas) {
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
  n_left_ = todo_.size();
}

double QuestionScheduler::cost(const Todo& todo) const {
  return static_cast<double>(todo.n_tokens - std::min(todo.n_tokens, todo.n_shared));
}

double QuestionScheduler::under_way(const Replica& replica) const {
  double n_tokens = 0;
  for (const auto& [_, n_of_question] : replica.under_way) n_tokens += n_of_question;
  return n_tokens / 2;  // how far each is, is not known: half of it on average
}

double QuestionScheduler::cost(const Replica& replica) const {
  double n_tokens = under_way(replica);
  for (std::size_t i = replica.own.begin; i < replica.own.end; ++i) n_tokens += cost(todo_[i]);
  return n_tokens;
}

QuestionScheduler::Run QuestionScheduler::taken_over(const Replica& taker) {
  Replica* last = nullptr;  // of those that could do with less
  for (Replica& other : replicas_) {
    if (other.own.size() > 0 && (last == nullptr || cost(other) > cost(*last))) last = &other;
  }
  if (last == nullptr) return {};
  double soonest = cost(*last);
  std::size_t split = last->own.end;
  double stays = under_way(*last), goes = soonest - stays;
  for (std::size_t i = last->own.begin; i < last->own.end; ++i) {
    // Who takes it over has to read what its first question has in common with those before.
    const double end =
        std::max(stays, under_way(taker) + static_cast<double>(todo_[i].n_shared) + goes);
    if (end < soonest) {
      soonest = end;
      split = i;
    }
    stays += cost(todo_[i]);
    goes -= cost(todo_[i]);
  }
  const Run taken{split, last->own.end};
  last->own.end = split;
  return taken;
}

std::optional<std::size_t> QuestionScheduler::next(std::size_t replica) {
  Replica& asking = replicas_[replica];
  const bool begins_run = asking.own.size() == 0;
  if (begins_run) asking.own = n_begun_ < runs_.size() ? runs_[n_begun_++] : taken_over(asking);
  if (asking.own.size() == 0) return std::nullopt;
  const Todo& todo = todo_[asking.own.begin++];
  asking.under_way[todo.index] = begins_run ? static_cast<double>(todo.n_tokens) : cost(todo);
  --n_left_;
  return todo.index;
}

void QuestionScheduler::end(std::size_t replica, std::size_t question) {
  replicas_[replica].under_way.erase(question);
}

}  // namespace longreach::eval
