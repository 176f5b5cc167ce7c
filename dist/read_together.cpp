#include "dist/read_together.hpp"

#include "dist/gather_values.hpp"
#include "kernels/read_bandwidth.hpp"

#include <algorithm>
#include <limits>

namespace longreach::dist {
namespace {

constexpr std::size_t kPasses = 4;

}  // namespace

double read_together(Communicator& world, kernels::ThreadPool& pool, std::size_t n_bytes) {
  kernels::ReadYardstick yardstick(n_bytes, pool);
  double least_seconds = std::numeric_limits<double>::infinity();
  for (std::size_t pass = 0; pass < kPasses; ++pass) {
    world.barrier();
    least_seconds =
        std::min(least_seconds, std::ranges::max(gather_values(world, yardstick.read())));
  }
  return static_cast<double>(yardstick.size_bytes() * world.size()) / least_seconds;
}

}  // namespace longreach::dist
