#include "dist/engine/grid.hpp"

#include "kernels/base/error.hpp"

namespace longreach::dist {

GridPosition::GridPosition(Communicator& world, partition::Grid the_grid)
    : grid(the_grid),
      replica(world.rank() / grid.n_ranks()),
      stage(world.rank() % grid.n_ranks() / grid.n_shards),
      shard(world.rank() % grid.n_shards),
      ranks(world.split(replica)),
      shards(ranks->split(stage)),
      stages(ranks->split(shard)) {
  LR_CHECK(world.size() % grid.n_ranks() == 0);
}

}  // namespace longreach::dist
