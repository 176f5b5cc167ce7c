/// The register of tasks: the command line, the documentation of options and the tests read it.
#pragma once

#include "eval/task.hpp"

#include <memory>
#include <span>
#include <string_view>

namespace longreach::eval {

/// Which of TaskOptions a kind of task reads. All but kTexts read n_new and stop_text, kPasskey
/// aside.
enum class TaskForm {
  kPasskey,    ///< lengths, n_depths (10 if not given), n_samples, seed.
  kNeedles,    ///< lengths, n_depths, n_samples, seed.
  kGenerated,  ///< lengths, n_samples, seed.
  kQuestions,  ///< files, match.
  kTexts,      ///< files, lengths, n_samples, n_skipped.
};

struct TaskKind {
  std::string_view name;  ///< On the command line.
  std::string_view summary;
  TaskForm form;
  std::unique_ptr<Task> (*make)(const TaskOptions&, const model::Tokenizer&);
};

/// All kinds of tasks.
std::span<const TaskKind> task_kinds();

}  // namespace longreach::eval
