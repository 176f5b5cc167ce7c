/// What decides the results of a run, as names and values: written into every line of results, and
/// compared before a run goes on where another stopped.
#pragma once

#include "eval/tasks.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::eval {

using SettingValue = std::variant<std::string, std::uint64_t>;

/// In the order they are written. Where a run takes place (ranks, threads) is no setting: it does
/// not change results.
using Settings = std::vector<std::pair<std::string, SettingValue>>;

/// The settings of a task: what its form reads of the options. Files count by name and content.
/// Errors: InputError for a file that cannot be read.
Settings task_settings(const TaskKind& kind, const TaskOptions& options);

}  // namespace longreach::eval
