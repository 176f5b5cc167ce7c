/// `longreach convert`: a checkpoint becomes a .safetensors file in the authors' names. The leader
/// writes it; low ranks are found, and models compared, on all ranks.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// Returns the program's exit code. Collective. Errors: AgreedError or, alone, InputError, after
/// which neither the file nor the config.json beside it has been touched, unless it is an error of
/// comparing models.
int run(const ConvertOptions& options, dist::World& world);

}  // namespace longreach::launch
