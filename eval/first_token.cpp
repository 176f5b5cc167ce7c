#include "eval/first_token.hpp"

#include "generation/first_token.hpp"

#include <utility>
#include <variant>

namespace longreach::eval {
namespace {

class WithFirstToken final : public Task {
 public:
  WithFirstToken(std::unique_ptr<Task> task, base::TokenId token)
      : Task(task->name(), task->specs()), task_(std::move(task)), token_(token) {}

  Question question(std::size_t index) const override {
    Question question = task_->question(index);
    if (!generation::put_first(question.prompt, token_)) return question;
    if (std::holds_alternative<ToPredict>(question.asked)) question.prompt.pop_back();
    if (question.n_shared > 0) ++question.n_shared;
    if (question.needle) question.needle = {question.needle->begin + 1, question.needle->end + 1};
    return question;
  }

 private:
  std::unique_ptr<Task> task_;
  base::TokenId token_;
};

}  // namespace

std::unique_ptr<Task> with_first_token(std::unique_ptr<Task> task, base::TokenId token) {
  return std::make_unique<WithFirstToken>(std::move(task), token);
}

}  // namespace longreach::eval
