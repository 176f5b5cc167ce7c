/// Loss by position over long texts: does a model predict better with more context?
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// One question a text: the mean loss from each of options.lengths to the next, up to the longest
/// that the text has tokens for. Texts are whole files, or, of files named .jsonl, the field `text`
/// of every line. The first n_skipped tokens of a text are left out; texts too short for the first
/// length are passed over; at most n_samples texts are read.
/// Errors: InputError naming file and line for a line without a text, and if no text is long
/// enough. Source: RWKV-X, evaluation/eval_long_loss.py. The origin's figure for a length is the
/// mean from the beginning; the summary has both.
std::unique_ptr<Task> make_long_loss(const TaskOptions& options, const model::Tokenizer& tokenizer);

}  // namespace longreach::eval
