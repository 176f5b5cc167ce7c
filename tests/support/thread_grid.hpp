/// Engines on grids whose ranks are threads.
#pragma once

#include "tests/support/golden_engine.hpp"
#include "tests/support/thread_ranks.hpp"

#include <string>

namespace longreach::test {

/// "2x3"
inline std::string text(partition::Grid grid) {
  return std::to_string(grid.n_stages) + "x" + std::to_string(grid.n_shards);
}

/// Calls lead(engine) on rank 0 of a grid, whose other ranks serve.
template <typename Lead>
void on_grid(const Golden& golden, partition::Grid grid, const dist::EngineOptions& options,
             Lead&& lead) {
  run_ranks(grid.n_ranks(), [&](dist::Communicator& world) {
    dist::Engine engine(world, golden.checkpoint, golden.config,
                        golden.layout(grid.n_stages, grid.n_shards), options);
    if (engine.leads()) {
      lead(engine);
    } else {
      engine.serve();
    }
  });
}

}  // namespace longreach::test
