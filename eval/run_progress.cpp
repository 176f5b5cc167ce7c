#include "eval/run_progress.hpp"

#include "kernels/base/seconds.hpp"

namespace longreach::eval {

Tracker::Tracker(const Task& task, const std::map<std::size_t, Result>& results,
                 std::size_t n_replicas)
    : replicas_(n_replicas) {
  so_far_.n_questions = task.specs().size();
  for (std::size_t i = 0; i < task.specs().size(); ++i) {
    if (!results.contains(i)) n_tokens_to_ask_ += static_cast<double>(task.specs()[i].length);
  }
  for (const auto& [question, result] : results) add(result);
}

void Tracker::add(const Result& result) {
  if (!result.losses.empty()) so_far_.unit = ScoreUnit::kNats;
  score_sum_ += result.score;
  ++so_far_.n_done;
  so_far_.mean_score = score_sum_ / static_cast<double>(so_far_.n_done);
}

RunProgress Tracker::progress() const {
  RunProgress progress = so_far_;
  double n_tokens_asked = 0;
  for (const generation::WorkProgress& replica : replicas_) {
    progress.n_tokens_read += replica.n_tokens_read;
    n_tokens_asked += replica.work_done;
  }
  progress.share_done = n_tokens_asked / n_tokens_to_ask_;
  progress.seconds = base::seconds_since(start_);
  return progress;
}

}  // namespace longreach::eval
