/// Questions that the user brings, one JSON object a line.
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// Fields of a line: `input`, the prompt; `answer_prefix`, if any, put behind it; `outputs` (a list
/// or a text) or `answer` (the same), what is expected. Others are ignored, so that files of RULER
/// and of suites like it are taken as they are. Questions stay in the file's order. Errors:
/// InputError naming file and line for the first line that is no such object, or that the
/// vocabulary lacks tokens for; all lines are read before the task exists.
std::unique_ptr<Task> make_question_file(const TaskOptions& options,
                                         const model::Tokenizer& tokenizer);

}  // namespace longreach::eval
