#include "launch/descriptors.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace longreach::launch {
namespace {

/// Descriptors for files and ranks beside connections.
constexpr std::size_t kOtherDescriptors = 256;

}  // namespace

std::size_t max_connections(std::size_t most) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kOtherDescriptors;
  const rlim_t wanted = most + kOtherDescriptors;
  if (limit.rlim_cur < wanted) {
    const rlimit more{std::min(wanted, limit.rlim_max), limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) limit = more;
  }
  return std::clamp<std::size_t>(limit.rlim_cur, 2 * kOtherDescriptors, wanted) - kOtherDescriptors;
}

}  // namespace longreach::launch
