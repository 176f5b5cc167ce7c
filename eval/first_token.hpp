/// Questions whose texts begin with a token that is not part of them, as models know it from their
/// training.
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// The same questions with that token first, unless it is there. Prompts of answers are then a
/// token longer than the task's lengths say; of texts whose loss is measured, it counts as the
/// first token.
std::unique_ptr<Task> with_first_token(std::unique_ptr<Task> task, base::TokenId token);

}  // namespace longreach::eval
