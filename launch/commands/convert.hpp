/// `longreach convert`: a checkpoint becomes a .safetensors file in the authors' names. Runs on the
/// leader alone.
#pragma once

#include "launch/options/options.hpp"

namespace longreach::launch {

/// Returns the program's exit code. Errors: InputError, after which neither the file nor the
/// config.json beside it has been touched.
int run(const ConvertOptions& options);

}  // namespace longreach::launch
