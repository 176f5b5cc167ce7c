/// How fast all ranks together read memory: what shares of bandwidth are of.
#pragma once

#include "dist/comm/communicator.hpp"
#include "kernels/threads/read_bandwidth.hpp"

namespace longreach::dist {

/// Lets all ranks read their yardsticks at once. Returns the bytes a second of all ranks together,
/// until the last one is done. Collective: yardsticks of the same size on all ranks.
double read_together(Communicator& world, kernels::ReadYardstick& yardstick);

}  // namespace longreach::dist
