/// The process grid: replicas x stages x shards. Shards of a stage are consecutive ranks, so that
/// they share a node; stages follow one another, and replicas do. The first shard of the first
/// stage leads its replica; that of the first replica is rank 0.
#pragma once

#include "dist/comm/communicator.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <memory>

namespace longreach::dist {

/// A rank's place in the grid, and whom it talks to.
struct GridPosition {
  /// Collective: all ranks of world, which must be as many as the grid has or a multiple of that:
  /// so many replicas there are.
  GridPosition(Communicator& world, partition::Grid grid);

  partition::Grid grid;  ///< Of each replica.
  std::size_t replica, stage, shard;
  std::unique_ptr<Communicator> ranks;   ///< Of this replica, stage by stage.
  std::unique_ptr<Communicator> shards;  ///< Of this stage; ranks are shards.
  std::unique_ptr<Communicator> stages;  ///< The same shard of every stage; ranks are stages.

  bool leads() const { return stage == 0 && shard == 0; }
  bool is_first_stage() const { return stage == 0; }
  bool is_last_stage() const { return stage + 1 == grid.n_stages; }
  /// The rank in the replica of a shard of the last stage.
  std::size_t last_stage_rank(std::size_t of_shard) const {
    return (grid.n_stages - 1) * grid.n_shards + of_shard;
  }
};

}  // namespace longreach::dist
