/// Owning handle of an hwloc topology, for the source files that ask hwloc.
#pragma once

#include <hwloc.h>

#include <memory>

namespace longreach::launch {

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDeleter>;

/// A topology that is still to be loaded; null when hwloc cannot make one.
inline Topology new_topology() {
  hwloc_topology_t topology = nullptr;
  return Topology(hwloc_topology_init(&topology) == 0 ? topology : nullptr);
}

}  // namespace longreach::launch
