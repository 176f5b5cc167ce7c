#include "dist/grid.hpp"

#include "kernels/base/error.hpp"

namespace longreach::dist {

Seat::Seat(Communicator& world, partition::Grid the_grid)
    : grid(the_grid),
      stage(world.rank() / grid.n_shards),
      shard(world.rank() % grid.n_shards),
      shards(world.split(stage)),
      stages(world.split(shard)) {
  LR_CHECK(world.size() == grid.n_ranks());
}

}  // namespace longreach::dist
