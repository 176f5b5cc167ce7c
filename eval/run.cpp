#include "eval/run.hpp"

#include <chrono>
#include <numeric>

namespace longreach::eval {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Keeps what a watcher wants to know.
class Tracker {
 public:
  Tracker(const Task& task, const Examiner& examiner, const std::vector<Result>& results)
      : task_(task),
        examiner_(examiner),
        results_(results),
        n_tokens_before_(examiner.n_tokens_read()) {
    for (std::size_t i = results.size(); i < task.places().size(); ++i) {
      n_tokens_to_ask_ += static_cast<double>(task.places()[i].length);
    }
  }

  /// In the middle of the next question, of which a share has been read.
  RunProgress progress(double share_of_question) {
    for (; n_counted_ < results_.size(); ++n_counted_) score_sum_ += results_[n_counted_].score;
    RunProgress progress;
    const bool has_losses = !results_.empty() && !results_[0].losses.empty();
    progress.unit = has_losses ? ScoreUnit::kNats : ScoreUnit::kShare;
    progress.n_questions = task_.places().size();
    progress.n_done = results_.size();
    if (progress.n_done > 0)
      progress.mean_score = score_sum_ / static_cast<double>(progress.n_done);
    progress.n_tokens_read = examiner_.n_tokens_read() - n_tokens_before_;
    progress.seconds = seconds_since(start_);
    const auto length = static_cast<double>(task_.places()[results_.size()].length);
    progress.share_done = (n_tokens_asked_ + share_of_question * length) / n_tokens_to_ask_;
    return progress;
  }

  void question_done(std::size_t index) {
    n_tokens_asked_ += static_cast<double>(task_.places()[index].length);
  }

 private:
  const Task& task_;
  const Examiner& examiner_;
  const std::vector<Result>& results_;
  Clock::time_point start_ = Clock::now();
  std::size_t n_tokens_before_;
  std::size_t n_counted_ = 0;
  double score_sum_ = 0;
  double n_tokens_to_ask_ = 0, n_tokens_asked_ = 0;
};

}  // namespace

bool run(const Task& task, Examiner& examiner, const partition::Grid& grid, ResultFile& file,
         const Watch& watch) {
  Tracker tracker(task, examiner, file.results());
  while (file.results().size() < task.places().size()) {
    const std::size_t index = file.results().size();
    if (!watch(tracker.progress(0))) return false;
    const Clock::time_point start = Clock::now();
    const Question question = task.question(index);
    const auto outcome = examiner.ask(
        question, [&](double share_read) { return watch(tracker.progress(share_read)); });
    if (!outcome) return false;
    file.append(task, question, *outcome, grid, seconds_since(start));
    tracker.question_done(index);
  }
  return true;
}

}  // namespace longreach::eval
