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

/// Hands out questions, each once, to whoever has room for one more. Neighbours that have more than
/// half of their prompts in common are a run, and one replica asks it from its beginning on: then
/// the common part is read once. Runs are handed out in order, so a single replica asks everything
/// in order. When all have been begun, a replica with room takes over the end of a run if that ends
/// sooner, although the common part is then read again.
class QuestionScheduler {
 public:
  /// Hands out the questions at `specs` that have no result.
  QuestionScheduler(std::span<const QuestionSpec> specs,
                    const std::map<std::size_t, Result>& results, std::size_t n_replicas);

  /// The question that the replica is to ask now; nothing when there is none for it: none at all,
  /// or none that it would end sooner. That can change while it has others under way.
  std::optional<std::size_t> next(std::size_t replica);

  /// A question that the replica was to ask is done.
  void end(std::size_t replica, std::size_t question);

  /// Questions that have not been handed out.
  std::size_t n_left() const { return n_left_; }

 private:
  /// Questions of a run that nobody has yet been asked to ask, by their indices in `todo_`.
  using Run = partition::Range;

  struct Todo {
    std::size_t index;     ///< Of the question.
    std::size_t n_tokens;  ///< About how many reading it from its beginning takes.
    std::size_t n_shared;  ///< How many of these the question before it in this list has, too.
  };

  struct Replica {
    Run own;                                  ///< What is left of its run.
    std::map<std::size_t, double> under_way;  ///< By question: tokens that it reads.
  };

  /// Tokens that a question reads if the one before it in the list was asked just before.
  double cost(const Todo& todo) const;
  /// About how many tokens the questions under way still read.
  double under_way(const Replica& replica) const;
  /// The same, and the rest of its run.
  double cost(const Replica& replica) const;
  /// The end of another replica's run, if both then end sooner than that one would alone.
  Run taken_over(const Replica& taker);

  std::vector<Todo> todo_;
  std::vector<Run> runs_;  ///< All of them.
  std::size_t n_begun_ = 0;
  std::size_t n_left_ = 0;
  std::vector<Replica> replicas_;
};

}  // namespace longreach::eval
