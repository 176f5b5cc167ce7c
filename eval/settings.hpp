/// What decides the results of a run, as names and values: written into every line of results, and
/// compared before a run goes on where another stopped.
#pragma once

#include "eval/tasks.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::eval {

using SettingValue = std::variant<std::string, std::uint64_t>;

/// In the order they are written. Where a run takes place (ranks, threads) is no setting: it does
/// not change results.
using Settings = std::vector<std::pair<std::string, SettingValue>>;

/// The setting that a run only has when its model is loaded.
inline constexpr std::string_view kModelFingerprint = "model_fingerprint";

/// What distinguishes vocabularies of so many tokens, wherever they were read: a hash of all
/// entries.
std::string hash_of_vocabulary(const model::Tokenizer& tokenizer, std::size_t vocab_size);

/// The settings of a task that was made of these options: what its form reads of them. Files count
/// by name and by a hash of the questions in them.
Settings task_settings(const TaskKind& kind, const TaskOptions& options, const Task& task);

}  // namespace longreach::eval
