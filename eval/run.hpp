/// Asks all questions of a task that have no result yet.
#pragma once

#include "eval/examiner.hpp"
#include "eval/settings.hpp"
#include "eval/task.hpp"
#include "generation/work_share.hpp"
#include "partition/plan.hpp"

namespace longreach::eval {

/// Asks, several at once, what a replica, whose engine has that grid, gets from its source, and
/// adds the results. On the leaders of all replicas, each with a source of its own. Returns what
/// the source's finish does: whether all questions of the job have been asked. A question that was
/// interrupted leaves nothing behind. Errors: InputError, and those of the source.
bool run(const Task& task, Examiner& examiner, const partition::Grid& grid,
         const Settings& settings, generation::WorkSource& source);

}  // namespace longreach::eval
