/// Asks all questions of a task that have no result yet.
#pragma once

#include "eval/examiner.hpp"
#include "eval/results.hpp"
#include "eval/task.hpp"

#include <cstddef>
#include <functional>

namespace longreach::eval {

/// What scores are: shares of what was expected, or losses.
enum class ScoreUnit { kShare, kNats };

/// How far a run is.
struct RunProgress {
  ScoreUnit unit = ScoreUnit::kShare;
  std::size_t n_questions = 0, n_done = 0;  ///< In all, those of earlier runs included.
  double mean_score = 0;                    ///< Of those done.
  std::size_t n_tokens_read = 0;            ///< By this run.
  double seconds = 0;                       ///< Of this run.
  double share_done = 0;                    ///< Of the tokens of the questions that this run asks.
};

/// Called a few times a second at least; false ends the run.
using Watch = std::function<bool(const RunProgress&)>;

/// Asks the questions from the first one without a result on, and writes each result as it comes.
/// Returns whether all were asked. A question that was interrupted leaves nothing behind.
/// Errors: InputError.
bool run(const Task& task, Examiner& examiner, const partition::Grid& grid, ResultFile& file,
         const Watch& watch);

}  // namespace longreach::eval
