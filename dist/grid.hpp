/// The process grid: stages x shards. Shards of a stage are consecutive ranks, so that they share a
/// node; stages follow one another. Rank 0, the first shard of the first stage, leads.
#pragma once

#include "dist/communicator.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <memory>

namespace longreach::dist {

/// A rank's place in the grid, and whom it talks to.
struct Seat {
  /// Collective: all ranks of world, which must be as many as the grid has.
  Seat(Communicator& world, partition::Grid grid);

  partition::Grid grid;
  std::size_t stage, shard;
  std::unique_ptr<Communicator> shards;  ///< Of this stage; ranks are shards.
  std::unique_ptr<Communicator> stages;  ///< The same shard of every stage; ranks are stages.

  bool leads() const { return stage == 0 && shard == 0; }
  bool is_first_stage() const { return stage == 0; }
  bool is_last_stage() const { return stage + 1 == grid.n_stages; }
  /// The rank of a shard of the last stage.
  std::size_t last_stage_rank(std::size_t of_shard) const {
    return (grid.n_stages - 1) * grid.n_shards + of_shard;
  }
};

}  // namespace longreach::dist
