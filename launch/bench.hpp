/// The command `bench`: how fast a model decodes and reads prompts here, beside what the memory
/// gives.
#pragma once

#include "launch/options.hpp"

namespace longreach::launch {

/// Prints one JSON object a line for each context. Returns the exit code. Errors: InputError.
int run(const BenchOptions& options);

}  // namespace longreach::launch
