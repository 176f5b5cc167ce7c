#include "eval/run.hpp"

#include "eval/results.hpp"
#include "kernels/base/seconds.hpp"

#include <chrono>
#include <map>
#include <utility>

namespace longreach::eval {
namespace {

/// The questions of a replica that are under way, and what has come of the others.
class Run {
 public:
  Run(const Task& task, Examiner& examiner, const partition::Grid& grid, const Settings& settings,
      generation::WorkSource& source)
      : task_(task),
        examiner_(examiner),
        grid_(grid),
        settings_(settings),
        source_(source),
        n_read_before_(examiner.n_tokens_read()) {}

  bool finish() {
    while (ask_more() && step()) {
    }
    return source_.finish();
  }

 private:
  struct UnderWay {
    Question question;
    std::chrono::steady_clock::time_point start;
    double share_read = 0;
  };

  /// Returns whether anything is under way.
  bool ask_more() {
    while (const std::size_t n_room = examiner_.n_room()) {
      const auto index = under_way_.empty() ? source_.wait_for_next(n_room) : source_.next(n_room);
      if (!index) break;
      ask(*index);
    }
    return !under_way_.empty();
  }

  void ask(std::size_t index) {
    Question question = task_.question(index);
    UnderWay& asked = under_way_[index];
    asked = {std::move(question), std::chrono::steady_clock::now()};
    examiner_.ask(asked.question, {[&asked](double share_read) { asked.share_read = share_read; },
                                   [this, index](const Outcome& outcome) { end(index, outcome); }});
  }

  /// Returns whether the run goes on.
  bool step() {
    const auto carry_on = [this](double) { return source_.carry_on(progress()); };
    return examiner_.step(carry_on) && carry_on(1);
  }

  void end(std::size_t index, const Outcome& outcome) {
    const auto asked = under_way_.extract(index);
    const UnderWay& question = asked.mapped();
    n_asked_ += length_of(index);
    source_.add_result(index,
                       result_line(task_, index, question.question, outcome, grid_,
                                   base::seconds_since(question.start), settings_),
                       progress());
  }

  double length_of(std::size_t index) const {
    return static_cast<double>(task_.specs()[index].length);
  }

  generation::WorkProgress progress() const {
    double n_asked = n_asked_;
    for (const auto& [index, asked] : under_way_) n_asked += asked.share_read * length_of(index);
    return {n_asked, examiner_.n_tokens_read() - n_read_before_};
  }

  const Task& task_;
  Examiner& examiner_;
  const partition::Grid& grid_;
  const Settings& settings_;
  generation::WorkSource& source_;
  std::size_t n_read_before_;
  std::map<std::size_t, UnderWay> under_way_;
  double n_asked_ = 0;  ///< Tokens of questions that are done.
};

}  // namespace

bool run(const Task& task, Examiner& examiner, const partition::Grid& grid,
         const Settings& settings, generation::WorkSource& source) {
  return Run(task, examiner, grid, settings, source).finish();
}

}  // namespace longreach::eval
