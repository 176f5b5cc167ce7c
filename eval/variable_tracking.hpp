/// RULER's variable tracking: one chain of assignments hidden in repeated sentences.
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// vt: 1 chain of 4 hops, after one solved example. Errors: InputError for a length too small.
/// Source: RULER, scripts/data/synthetic/variable_tracking.py, and constants.py for the template.
std::unique_ptr<Task> make_vt(const TaskOptions& options, const model::Tokenizer& tokenizer);

}  // namespace longreach::eval
