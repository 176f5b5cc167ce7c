#include "eval/run.hpp"

#include "kernels/base/seconds.hpp"

#include <chrono>

namespace longreach::eval {

bool run(const Task& task, Examiner& examiner, const partition::Grid& grid,
         const Settings& settings, QuestionSource& source) {
  const std::size_t n_before = examiner.n_tokens_read();
  const auto n_read = [&] { return examiner.n_tokens_read() - n_before; };
  while (const auto index = source.next()) {
    const auto start = std::chrono::steady_clock::now();
    const Question question = task.question(*index);
    const auto outcome = examiner.ask(
        question, [&](double share_read) { return source.carry_on(share_read, n_read()); });
    if (!outcome) break;
    const double seconds = base::seconds_since(start);
    source.add_result(result_line(task, *index, question, *outcome, grid, seconds, settings),
                      n_read());
  }
  return source.finish();
}

}  // namespace longreach::eval
