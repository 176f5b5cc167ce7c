#include "eval/shared_questions.hpp"

#include <utility>

namespace longreach::eval {

SharedQuestions::SharedQuestions(const Task& task, ResultFile& file, std::size_t n_replicas,
                                 Watch watch)
    : file_(file),
      watch_(std::move(watch)),
      scheduler_(task.specs(), file.results(), n_replicas),
      tracker_(task, file.results(), n_replicas) {}

void SharedQuestions::add_result(std::size_t replica, std::size_t question,
                                 const std::string& line) {
  scheduler_.end(replica, question);
  tracker_.add(file_.add(line));
}

}  // namespace longreach::eval
