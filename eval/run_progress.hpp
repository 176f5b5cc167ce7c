/// How far a run is, all replicas together.
#pragma once

#include "eval/results.hpp"
#include "eval/task.hpp"
#include "generation/work_share.hpp"

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
  /// This run's questions are those without a result.
  Tracker(const Task& task, const std::map<std::size_t, Result>& results, std::size_t n_replicas);

  /// Of a replica, counted in tokens of questions.
  void set_progress(std::size_t replica, const generation::WorkProgress& progress) {
    replicas_[replica] = progress;
  }
  /// A result of this run.
  void add(const Result& result);

  RunProgress progress() const;

 private:
  std::vector<generation::WorkProgress> replicas_;
  RunProgress so_far_;  ///< Of questions that are done.
  double score_sum_ = 0;
  double n_tokens_to_ask_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace longreach::eval
