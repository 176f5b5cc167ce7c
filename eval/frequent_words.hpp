/// RULER's aggregation tasks: which words of a long list are the most frequent.
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// cwe: 10 words of a numbered list stand in it more often than the others (30 times against 3,
/// below 4096 tokens 6 against 1), after one solved example. The words are our own (the origin
/// takes two lists), hence "cwe-like". Errors: InputError for a length too small or with too many
/// words. Source: RULER, scripts/data/synthetic/common_words_extraction.py, and constants.py.
std::unique_ptr<Task> make_cwe(const TaskOptions& options, const model::Tokenizer& tokenizer);

/// fwe: the three most frequent of coded words whose frequencies follow a zeta law with alpha 2;
/// the most frequent entry is dots and does not count. Errors: InputError for a length too small.
/// Source: RULER, scripts/data/synthetic/freq_words_extraction.py, and constants.py. The origin
/// grows a text in steps of a 32nd of its length; here it is as long as fits.
std::unique_ptr<Task> make_fwe(const TaskOptions& options, const model::Tokenizer& tokenizer);

}  // namespace longreach::eval
