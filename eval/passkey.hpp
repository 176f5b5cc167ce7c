/// The passkey task in the form of landmark attention, as RWKV-X asks it: a number hidden in
/// repeated sentences.
#pragma once

#include "eval/task.hpp"

#include <memory>

namespace longreach::eval {

/// Errors: InputError for a length too small for the lines around the garbage.
/// Source: landmark-attention, llama/run_test.py; RWKV-X, evaluation/pass_key_rwkvx.py. Lengths are
/// tokens here, where the origin takes int(3.75 * length // 1000 * 1000) characters for them.
std::unique_ptr<Task> make_passkey(const TaskOptions& options, const model::Tokenizer& tokenizer);

}  // namespace longreach::eval
