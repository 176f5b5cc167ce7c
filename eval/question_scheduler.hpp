/// Which question is asked by which replica, and when: pure bookkeeping.
#pragma once

#include "eval/results.hpp"
#include "eval/task.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace longreach::eval {

/// Hands out questions, each once, one at a time to whoever is ready. Neighbours that have more
/// than half of their prompts in common are a run, and one replica asks it from its beginning on:
/// then the common part is read once. Runs are handed out in order, so a single replica asks
/// everything in order. When all have been begun, a replica that is ready takes over the second
/// half of a run if that ends sooner, although the common part is then read again.
class QuestionScheduler {
 public:
  /// Hands out the questions at `specs` that have no result.
  QuestionScheduler(std::span<const QuestionSpec> specs,
                    const std::map<std::size_t, Result>& results, std::size_t n_replicas);

  /// The question that the replica is to ask now; nothing when none is left for it.
  std::optional<std::size_t> next(std::size_t replica);

 private:
  /// Questions of a run that nobody has yet been asked to ask, by their indices in `todo_`.
  using Run = partition::Range;

  /// Tokens that asking these reads if the question before them was asked just before.
  double cost(Run run) const;
  /// The second half of what is left of another replica's run, if that is worth while.
  Run taken_over();

  struct Todo {
    std::size_t index;     ///< Of the question.
    std::size_t n_tokens;  ///< About how many reading it from its beginning takes.
    std::size_t n_shared;  ///< How many of these the question before it in this list has, too.
  };

  std::vector<Todo> todo_;
  std::vector<Run> runs_;  ///< All of them.
  std::size_t n_begun_ = 0;
  std::vector<Run> own_;  ///< By replica: what is left of its run.
};

}  // namespace longreach::eval
