/// The command `serve`.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Answers requests over HTTP until a signal comes and those that were taken have been answered.
/// Returns the exit code. Collective: the leader of the job listens, the other ranks serve its
/// engine. Errors: as of all commands.
int run(const ServeOptions& options, dist::World& world);

}  // namespace longreach::launch
