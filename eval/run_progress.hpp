/// How far a run is, all replicas together.
#pragma once

#include "eval/results.hpp"
#include "eval/task.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <vector>

namespace longreach::eval {

/// What scores are: shares of what was expected, or losses.
enum class ScoreUnit { kShare, kNats };

/// What a watcher is shown.
struct RunProgress {
  ScoreUnit unit = ScoreUnit::kShare;
  std::size_t n_questions = 0, n_done = 0;  ///< In all, those of earlier runs included.
  double mean_score = 0;                    ///< Of those done.
  std::size_t n_tokens_read = 0;            ///< By this run.
  double seconds = 0;                       ///< Of this run.
  double share_done = 0;                    ///< Of the tokens of the questions that this run asks.
};

/// Called a few times a second at least; false ends the run.
using Watch = std::function<bool(const RunProgress&)>;

/// Keeps what a watcher wants to know.
class Tracker {
 public:
  /// This run's questions are those without a result. The task must outlive it.
  Tracker(const Task& task, const std::map<std::size_t, Result>& results, std::size_t n_replicas);

  void begin(std::size_t replica, std::size_t question);
  /// A share of the replica's question has been read, and so many tokens in all.
  void read(std::size_t replica, double share_of_question, std::size_t n_tokens_read);
  /// The replica's question is done.
  void end(std::size_t replica, const Result& result);

  RunProgress progress() const;

 private:
  struct Replica {
    double n_tokens_of_question = 0;
    double share_of_question = 0;
    std::size_t n_tokens_read = 0;
  };

  void count(const Result& result);

  const Task& task_;
  std::vector<Replica> replicas_;
  RunProgress so_far_;  ///< Of questions that are done.
  double score_sum_ = 0;
  double n_tokens_to_ask_ = 0, n_tokens_asked_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace longreach::eval
