/// The command `inspect`: what a checkpoint holds.
#pragma once

#include "launch/options/options.hpp"

namespace longreach::launch {

/// Lists blocks in execution order with their tensors, and what the config says. Reads only what
/// opening the checkpoint reads. Returns the exit code. Errors: InputError.
int run(const InspectOptions& options);

}  // namespace longreach::launch
