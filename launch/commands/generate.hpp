/// The command `generate`: a prompt in, its continuation out.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Writes the continuation to standard output as it comes, then one line of statistics to standard
/// error. Returns the exit code. Collective over the job.
/// Errors: InputError, AgreedError.
int run(const GenerateOptions& options, dist::World& world);

}  // namespace longreach::launch
