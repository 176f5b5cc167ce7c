#include "dist/engine/read_together.hpp"

#include "dist/comm/gather_values.hpp"

#include <algorithm>

namespace longreach::dist {

double read_together(Communicator& world, kernels::ReadYardstick& yardstick) {
  world.barrier();
  const double seconds = std::ranges::max(gather_values(world, yardstick.read()));
  return static_cast<double>(yardstick.size_bytes() * world.size()) / seconds;
}

}  // namespace longreach::dist
