/// The command `eval`: how well a model uses contexts of given lengths.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Asks the questions that have no result in the file yet, writing each result as it comes, and the
/// summary to standard output at the end. Returns the exit code. Errors: InputError; anything wrong
/// with options or files of questions before the weights are loaded.
int run(const EvalOptions& options, dist::World& world);

}  // namespace longreach::launch
