/// What `bench` measures with an engine: streams that decode, prompts, and both at once. All goes
/// through generation/generator.hpp, as every text does.
#pragma once

#include "dist/engine/engine.hpp"
#include "launch/commands/bench_result.hpp"
#include "launch/open_model.hpp"
#include "launch/options/options.hpp"
#include "launch/signals.hpp"

#include <cstddef>
#include <optional>

namespace longreach::launch {

/// What all of these measurements share; on the leader.
struct BenchRun {
  const BenchOptions& options;
  const OpenedModel& opened;
  const StopSignals& signals;
  dist::Engine& engine;
};

/// Memory that each rank reads for comparison, in whole words: by itself too much for caches, but
/// together with the others' not more than can be had.
std::size_t read_memory_bytes(const BenchOptions& options, const partition::Grid& grid);

/// How many tokens the measurement reads or fills in all, rounded up to what the cache takes for
/// them, after so long a context.
RunLength bench_length(const BenchOptions& options, const OpenedModel& opened, std::size_t context);

/// Answers the question that the options ask, `exchange` aside. Nothing when a signal came. Errors:
/// those of the engine.
std::optional<BenchResult> measure(const BenchRun& run, std::size_t context);

}  // namespace longreach::launch
