/// The command `bench`: how fast a model decodes and reads prompts here, beside what the memory
/// gives, and what both cost each other.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Prints one JSON object a line for each context. Returns the exit code. Collective over the
/// job. Errors: InputError, AgreedError.
int run(const BenchOptions& options, dist::World& world);

}  // namespace longreach::launch
