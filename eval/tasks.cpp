#include "eval/tasks.hpp"

#include "eval/frequent_words.hpp"
#include "eval/long_loss.hpp"
#include "eval/needle.hpp"
#include "eval/passkey.hpp"
#include "eval/question_file.hpp"
#include "eval/variable_tracking.hpp"

namespace longreach::eval {
namespace {

constexpr TaskKind kTaskKinds[] = {
    {"passkey", "a number hidden in repeated sentences", TaskForm::kPasskey, make_passkey},
    {"niah_single_1", "RULER: one needle among repeated sentences", TaskForm::kNeedles,
     make_niah_single_1},
    {"niah_multikey_2", "RULER: one needle among needles of words and numbers", TaskForm::kNeedles,
     make_niah_multikey_2},
    {"niah_multikey_3", "RULER: one needle among needles of UUIDs", TaskForm::kNeedles,
     make_niah_multikey_3},
    {"vt", "RULER: variables that were assigned one value", TaskForm::kGenerated, make_vt},
    {"cwe", "RULER: the ten most common words of a list", TaskForm::kGenerated, make_cwe},
    {"fwe", "RULER: the three most frequent coded words", TaskForm::kGenerated, make_fwe},
    {"jsonl", "questions of yours, in RULER's format", TaskForm::kQuestions, make_question_file},
    {"loss", "mean loss by position over long texts", TaskForm::kTexts, make_long_loss},
};

}  // namespace

std::span<const TaskKind> task_kinds() { return kTaskKinds; }

}  // namespace longreach::eval
