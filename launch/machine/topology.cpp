#include "launch/machine/topology.hpp"

#include "kernels/base/error.hpp"
#include "launch/machine/hwloc_handle.hpp"
#include "launch/machine/machine.hpp"

#include <filesystem>
#include <vector>

namespace longreach::launch {
namespace {

using partition::Domain;
using partition::Machine;

/// Cores, or hardware threads where the node reports no cores.
std::size_t count_cores(hwloc_topology_t topology, hwloc_const_cpuset_t set) {
  const int n_cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, set, HWLOC_OBJ_CORE);
  return static_cast<std::size_t>(n_cores > 0 ? n_cores : hwloc_bitmap_weight(set));
}

/// NUMA nodes that have cores and memory, the largest of those next to the same cores.
std::vector<hwloc_obj_t> numa_nodes(hwloc_topology_t topology) {
  std::vector<hwloc_obj_t> nodes;
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    if (hwloc_bitmap_iszero(node->cpuset) != 0 || node->attr->numanode.local_memory == 0) continue;
    bool is_new = true;
    for (hwloc_obj_t& other : nodes) {
      if (hwloc_bitmap_isequal(other->cpuset, node->cpuset) == 0) continue;
      is_new = false;
      if (node->attr->numanode.local_memory > other->attr->numanode.local_memory) other = node;
    }
    if (is_new) nodes.push_back(node);
  }
  return nodes;
}

Machine machine_of(hwloc_topology_t topology) {
  Machine machine;
  for (const hwloc_obj_t node : numa_nodes(topology)) {
    const std::size_t n_cores = count_cores(topology, node->cpuset);
    const std::size_t memory_bytes = node->attr->numanode.local_memory;
    machine.domains.push_back({n_cores, memory_bytes, partition::default_bandwidth(n_cores)});
    machine.node_memory_bytes += memory_bytes;
  }
  return machine;
}

}  // namespace

Machine this_node() {
  const Topology topology = new_topology();
  if (!topology || hwloc_topology_load(topology.get()) != 0) {
    base::input_error("hwloc cannot read this machine, describe it with --topology");
  }
  Machine machine = machine_of(topology.get());
  // The environment may have put another machine in place of this one; its memory is not in use.
  if (hwloc_topology_is_thissystem(topology.get()) == 0 && !machine.domains.empty()) return machine;
  const std::size_t available_bytes = available_memory_bytes();
  if (machine.domains.empty()) {  // containers may hide NUMA nodes or their sizes
    const std::size_t n_cores = usable_cores();
    machine.domains = {{n_cores, available_bytes, partition::default_bandwidth(n_cores)}};
  }
  machine.node_memory_bytes = available_bytes;
  return machine;
}

Machine described_node(const std::string& description) {
  const Topology topology = new_topology();
  const bool is_file = description.ends_with(".xml");
  const bool is_read =
      topology &&
      (is_file ? hwloc_topology_set_xml(topology.get(), description.c_str())
               : hwloc_topology_set_synthetic(topology.get(), description.c_str())) == 0 &&
      hwloc_topology_load(topology.get()) == 0;
  if (!is_read) {
    if (is_file && !std::filesystem::exists(description)) {
      base::input_error("--topology: {}: no such file", description);
    }
    base::input_error(
        "--topology: expected an .xml file of lstopo or a synthetic topology of hwloc, such as "
        "\"numa:2(memory=64GB) core:16 pu:1\", found {}",
        description);
  }
  Machine machine = machine_of(topology.get());
  if (machine.domains.empty()) {
    base::input_error("--topology: {} describes no NUMA node with cores and memory", description);
  }
  return machine;
}

}  // namespace longreach::launch
