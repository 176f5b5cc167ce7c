/// The command `generate`: a prompt in, its continuation out.
#pragma once

#include "launch/options.hpp"

namespace longreach::launch {

/// Writes the continuation to standard output as it comes, then one line of statistics to standard
/// error. Returns the exit code. Errors: InputError.
int run(const GenerateOptions& options);

}  // namespace longreach::launch
