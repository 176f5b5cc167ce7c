/// The questions of a run as work that replicas share.
#pragma once

#include "eval/question_scheduler.hpp"
#include "eval/results.hpp"
#include "eval/run_progress.hpp"
#include "eval/task.hpp"
#include "generation/work_share.hpp"

#include <cstddef>
#include <optional>
#include <string>

namespace longreach::eval {

/// Where the leader of the job is: its pieces are the questions that have no result in the file,
/// which gets all results as they come.
class SharedQuestions final : public generation::SharedWork {
 public:
  /// Task and file must outlive it.
  SharedQuestions(const Task& task, ResultFile& file, std::size_t n_replicas, Watch watch);

  std::size_t n_left() const override { return scheduler_.n_left(); }
  std::optional<std::size_t> hand_out(std::size_t replica) override {
    return scheduler_.next(replica);
  }
  /// Errors: InputError, as of ResultFile.
  void add_result(std::size_t replica, std::size_t question, const std::string& line) override;
  void set_progress(std::size_t replica, const generation::WorkProgress& progress) override {
    tracker_.set_progress(replica, progress);
  }
  bool carry_on() override { return watch_(tracker_.progress()); }

 private:
  ResultFile& file_;
  Watch watch_;
  QuestionScheduler scheduler_;
  Tracker tracker_;
};

}  // namespace longreach::eval
