/// RULER's needle tasks with haystacks that need no outside text.
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// niah_single_1: one needle, a word and its number, among repeated sentences.
/// niah_multikey_2: one needle among needles, words and numbers.
/// niah_multikey_3: the same with two UUIDs.
///
/// Without depths, every question has a text of its own and its needle anywhere in it, as in the
/// origin. With depths, the needle of niah_single_1 stands there; those among needles share one
/// text a length, and each question asks for another needle of it, those of a depth for neighbours:
/// one reading of the text serves all of them.
///
/// Errors: InputError for a length too small.
/// Source: RULER, scripts/data/synthetic/niah.py, and constants.py for the template. The words are
/// our own (the origin takes a package's), which "-like" in the name of the first two says.
std::unique_ptr<Task> make_niah_single_1(const TaskOptions& options,
                                         const model::Tokenizer& tokenizer);
std::unique_ptr<Task> make_niah_multikey_2(const TaskOptions& options,
                                           const model::Tokenizer& tokenizer);
std::unique_ptr<Task> make_niah_multikey_3(const TaskOptions& options,
                                           const model::Tokenizer& tokenizer);

}  // namespace longreach::eval
