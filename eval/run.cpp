#include "eval/run.hpp"

#include "eval/results.hpp"
#include "kernels/base/seconds.hpp"

#include <chrono>
#include <map>

namespace longreach::eval {
namespace {

/// The questions of a replica that are under way, and what has come of the others.
class Questions final : public generation::Worker {
 public:
  Questions(const Task& task, Examiner& examiner, const partition::Grid& grid,
            const Settings& settings, generation::WorkSource& source)
      : task_(task),
        examiner_(examiner),
        grid_(grid),
        settings_(settings),
        source_(source),
        n_read_before_(examiner.n_tokens_read()) {}

  std::size_t n_room() const override { return examiner_.n_room(); }
  std::size_t n_under_way() const override { return under_way_.size(); }

  void begin(std::size_t index) override {
    UnderWay& asked = under_way_[index];
    asked = {task_.question(index), std::chrono::steady_clock::now()};
    examiner_.ask(asked.question, {[&asked](double share_read) { asked.share_read = share_read; },
                                   [this, index](const Outcome& outcome) { end(index, outcome); }});
  }

  bool step(const dist::Progress& progress) override { return examiner_.step(progress); }

  generation::WorkProgress progress() const override {
    double n_asked = n_asked_;
    for (const auto& [index, asked] : under_way_) n_asked += asked.share_read * length_of(index);
    return {n_asked, examiner_.n_tokens_read() - n_read_before_};
  }

 private:
  struct UnderWay {
    Question question;
    std::chrono::steady_clock::time_point start;
    double share_read = 0;
  };

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
  Questions questions(task, examiner, grid, settings, source);
  return generation::work(source, questions);
}

}  // namespace longreach::eval
