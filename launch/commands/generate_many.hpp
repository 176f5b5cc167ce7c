/// The command `generate --prompts`.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Continues all prompts of a file that have no result yet, many at once, on all replicas. Returns
/// the exit code. Collective. Errors: as of all commands; InputError at the end if prompts failed,
/// whose results say why.
int run_prompts(const GenerateOptions& options, dist::World& world);

}  // namespace longreach::launch
