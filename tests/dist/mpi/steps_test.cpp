/// Random schedules of steps as a job: each session gets the bits it has alone.
#include "tests/support/mpi_main.hpp"
#include "tests/support/step_schedule.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace longreach::test {
namespace {

/// Grids of which the job is one, or several replicas.
std::vector<partition::Grid> grids_of(std::size_t n_ranks) {
  std::vector<partition::Grid> grids;
  for (const partition::Grid grid :
       {partition::Grid{1, 1}, {2, 1}, {1, 2}, {2, 2}, {1, 3}, {3, 2}}) {
    if (n_ranks == grid.n_ranks() || n_ranks == 2 * grid.n_ranks()) grids.push_back(grid);
  }
  return grids;
}

TEST(StepsOverMpi, WhateverSharesAStepASessionHasTheBitsItHasAlone) {
  constexpr std::size_t kSchedules = 4;
  const Golden golden;
  for (const partition::Grid grid : grids_of(world().size())) {
    for (std::size_t i = 0; i < kSchedules; ++i) {
      // All formats, ways and modes come up on some grid.
      const std::size_t seed = grid.n_stages + 7 * grid.n_shards + 100 * i;
      const dist::EngineOptions options = varied_options(seed);
      // Replicas have schedules of their own, at the same time.
      StepSchedule schedule(golden, seed + world().rank(), {});
      bool leads = false;
      {
        dist::Engine engine(world().communicator(), golden.checkpoint, golden.config,
                            golden.layout(grid.n_stages, grid.n_shards), options);
        leads = engine.leads();
        if (leads) {
          schedule.run(engine);
        } else {
          engine.serve();
        }
      }
      if (leads) schedule.expect_bits_of(*golden.engine(options));
    }
  }
}

}  // namespace
}  // namespace longreach::test
