/// The command `read`: a text becomes a context.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Reads a text and saves what it leaves behind, now and then and at the end. A run that was
/// stopped or killed goes on from the last state, on any grid; a longer text that begins likewise
/// continues the context. Returns the exit code. Collective over the job. Errors: InputError,
/// AgreedError.
int run(const ReadOptions& options, dist::World& world);

}  // namespace longreach::launch
