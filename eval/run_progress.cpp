#include "eval/run_progress.hpp"

#include "kernels/base/seconds.hpp"

namespace longreach::eval {

Tracker::Tracker(const Task& task, const std::map<std::size_t, Result>& results,
                 std::size_t n_replicas)
    : task_(task), replicas_(n_replicas) {
  so_far_.n_questions = task.specs().size();
  for (std::size_t i = 0; i < task.specs().size(); ++i) {
    if (!results.contains(i)) n_tokens_to_ask_ += static_cast<double>(task.specs()[i].length);
  }
  for (const auto& [question, result] : results) count(result);
}

void Tracker::count(const Result& result) {
  if (!result.losses.empty()) so_far_.unit = ScoreUnit::kNats;
  score_sum_ += result.score;
  ++so_far_.n_done;
  so_far_.mean_score = score_sum_ / static_cast<double>(so_far_.n_done);
}

void Tracker::begin(std::size_t replica, std::size_t question) {
  Replica& own = replicas_[replica];
  own.n_tokens_of_question = static_cast<double>(task_.specs()[question].length);
  own.share_of_question = 0;
}

void Tracker::read(std::size_t replica, double share_of_question, std::size_t n_tokens_read) {
  replicas_[replica].share_of_question = share_of_question;
  replicas_[replica].n_tokens_read = n_tokens_read;
}

void Tracker::end(std::size_t replica, const Result& result) {
  Replica& own = replicas_[replica];
  n_tokens_asked_ += own.n_tokens_of_question;
  own.n_tokens_of_question = 0;
  count(result);
}

RunProgress Tracker::progress() const {
  RunProgress progress = so_far_;
  double n_tokens_asked = n_tokens_asked_;
  for (const Replica& replica : replicas_) {
    progress.n_tokens_read += replica.n_tokens_read;
    n_tokens_asked += replica.share_of_question * replica.n_tokens_of_question;
  }
  progress.share_done = n_tokens_asked / n_tokens_to_ask_;
  progress.seconds = base::seconds_since(start_);
  return progress;
}

}  // namespace longreach::eval
