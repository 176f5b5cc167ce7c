/// The command `bench serve`: how fast a running server answers many clients.
#pragma once

#include "launch/options/options.hpp"

namespace longreach::launch {

/// Asks the server and prints what that took, also of a part when a signal came. Returns the exit
/// code. Errors: InputError, if the server cannot be asked, or answers no request.
int run(const BenchServeOptions& options);

}  // namespace longreach::launch
