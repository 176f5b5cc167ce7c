#include "eval/run.hpp"

#include "eval/results.hpp"
#include "kernels/base/seconds.hpp"

#include <chrono>

namespace longreach::eval {

bool run(const Task& task, Examiner& examiner, const partition::Grid& grid,
         const Settings& settings, generation::WorkSource& source) {
  const std::size_t n_before = examiner.n_tokens_read();
  double n_asked = 0;  // tokens of questions
  const auto progress = [&] {
    return generation::WorkProgress{n_asked, examiner.n_tokens_read() - n_before};
  };
  while (const auto index = source.wait_for_next(1)) {
    const auto start = std::chrono::steady_clock::now();
    const Question question = task.question(*index);
    const double n_asked_before = n_asked;
    const auto length = static_cast<double>(task.specs()[*index].length);
    const auto outcome = examiner.ask(question, [&](double share_read) {
      n_asked = n_asked_before + share_read * length;
      return source.carry_on(progress());
    });
    if (!outcome) break;
    const double seconds = base::seconds_since(start);
    n_asked = n_asked_before + length;
    source.add_result(
        *index, result_line(task, *index, question, *outcome, grid, seconds, settings), progress());
  }
  return source.finish();
}

}  // namespace longreach::eval
