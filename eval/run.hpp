/// Asks all questions of a task that have no result yet.
#pragma once

#include "eval/dispatch.hpp"
#include "eval/examiner.hpp"
#include "eval/settings.hpp"
#include "eval/task.hpp"
#include "partition/plan.hpp"

namespace longreach::eval {

/// Asks what a replica, whose engine has that grid, gets of the job's work, and gives back the
/// results. On the leaders of all replicas, each with work of its own. Returns what the work's
/// finish does: whether all questions of the job have been asked. A question that was interrupted
/// leaves nothing behind. Errors: InputError, and those of the work.
bool run(const Task& task, Examiner& examiner, const partition::Grid& grid,
         const Settings& settings, Work& work);

}  // namespace longreach::eval
