/// What is reported after a run about the ranks' time and bytes.
#pragma once

#include "dist/engine/engine.hpp"
#include "launch/options/options.hpp"

namespace longreach::launch {

/// After a run, on the leaders of all replicas: writes the trace that was asked for. Errors:
/// InputError naming the file.
void write_trace(dist::Engine& engine, const ModelOptions& options);

/// The same: says to a verbose user what the ranks of the job did with their time.
void log_usage(dist::Engine& engine, const ModelOptions& options);

}  // namespace longreach::launch
