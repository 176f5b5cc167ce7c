/// `longreach plan`: who would own what, what it takes and how fast it may be. Runs nothing.
#pragma once

#include "launch/options/options.hpp"

namespace longreach::launch {

/// Returns the exit code. Errors: InputError, also when the plan does not fit.
int run(const PlanOptions& options);

}  // namespace longreach::launch
