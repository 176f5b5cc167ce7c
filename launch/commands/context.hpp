/// The command `context`: what a context holds, and whether it is whole.
#pragma once

#include "launch/options/options.hpp"

namespace longreach::launch {

/// Returns the exit code. Errors: InputError; naming the damaged file when asked to verify.
int run(const ContextOptions& options);

}  // namespace longreach::launch
