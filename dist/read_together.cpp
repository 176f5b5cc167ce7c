#include "dist/read_together.hpp"

#include "kernels/read_bandwidth.hpp"

#include <algorithm>
#include <limits>
#include <vector>

namespace longreach::dist {
namespace {

constexpr std::size_t kPasses = 4;

/// The largest of all ranks' numbers. Collective.
double largest(Communicator& world, double own) {
  std::vector<double> all(world.size());
  std::vector<Range> parts;
  for (std::size_t r = 0; r < all.size(); ++r) {
    parts.push_back({r * sizeof(double), (r + 1) * sizeof(double)});
  }
  all[world.rank()] = own;
  world.all_gather(std::as_writable_bytes(std::span(all)), parts);
  return std::ranges::max(all);
}

}  // namespace

double read_together(Communicator& world, kernels::ThreadPool& pool, std::size_t n_bytes) {
  kernels::ReadYardstick yardstick(n_bytes, pool);
  double least_seconds = std::numeric_limits<double>::infinity();
  for (std::size_t pass = 0; pass < kPasses; ++pass) {
    world.barrier();
    least_seconds = std::min(least_seconds, largest(world, yardstick.read()));
  }
  return static_cast<double>(yardstick.size_bytes() * world.size()) / least_seconds;
}

}  // namespace longreach::dist
