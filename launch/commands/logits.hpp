/// The command `logits`: the numbers by which implementations and machines are compared.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Feeds the token file and records logits: to a file, as a hash, or the best five as text. Memory
/// does not grow with the number of recorded positions. Returns the exit code. Collective over the
/// job. Errors: InputError, AgreedError.
int run(const LogitsOptions& options, dist::World& world);

}  // namespace longreach::launch
