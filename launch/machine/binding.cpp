#include "launch/machine/binding.hpp"

#include "launch/machine/hwloc_handle.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

namespace longreach::launch {
namespace {

/// What threads need when they start, for as long as any may.
struct ThreadSets {
  Topology topology;
  std::vector<Bitmap> sets;  ///< Of each thread.
};

/// Hardware threads of each core that the process may use; with kGiven, that the launcher has bound
/// it to, which may be one of two of a core.
std::vector<Bitmap> sets_of(hwloc_topology_t topology, const CoreShare& share) {
  const Bitmap usable = new_bitmap();
  hwloc_bitmap_copy(usable.get(), hwloc_topology_get_topology_cpuset(topology));
  if (share.holding == Holding::kGiven) {
    hwloc_get_cpubind(topology, usable.get(), HWLOC_CPUBIND_PROCESS);
  }
  std::vector<Bitmap> sets;
  for (const dist::Core core : share.cores) {
    Bitmap set = new_bitmap();
    const hwloc_obj_t thread = hwloc_get_pu_obj_by_os_index(topology, core.id);
    const hwloc_obj_t whole =
        thread == nullptr ? nullptr
                          : hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, thread);
    if (whole != nullptr) {
      hwloc_bitmap_and(set.get(), whole->cpuset, usable.get());
    } else {
      hwloc_bitmap_only(set.get(), core.id);
    }
    sets.push_back(std::move(set));
  }
  return sets;
}

Bitmap union_of(const std::vector<Bitmap>& sets) {
  Bitmap all = new_bitmap();
  for (const Bitmap& set : sets) hwloc_bitmap_or(all.get(), all.get(), set.get());
  return all;
}

/// Prefers the NUMA node for what is touched from now on, by this thread and those it starts.
/// Returns words for what was done.
std::string bind_memory(hwloc_topology_t topology, std::uint32_t domain) {
  const Bitmap nodes = new_bitmap();
  hwloc_bitmap_only(nodes.get(), domain);
  if (hwloc_set_membind(topology, nodes.get(), HWLOC_MEMBIND_BIND, HWLOC_MEMBIND_BYNODESET) != 0) {
    return fmt::format(", memory not bound ({})", std::strerror(errno));
  }
  return ", memory there";
}

}  // namespace

Bound bind_process(const CoreShare& share, std::size_t n_threads) {
  if (share.holding == Holding::kFree) {
    return {{}, fmt::format("threads {} on any of {} cores", n_threads, share.cores.size())};
  }
  auto own = std::make_shared<ThreadSets>();
  own->topology = new_topology();
  hwloc_topology_t const topology = own->topology.get();
  if (!own->topology || hwloc_topology_load(topology) != 0) {
    return {{}, "not bound, hwloc cannot read this machine"};
  }
  std::vector<Bitmap> cores = sets_of(topology, share);
  const Bitmap all = union_of(cores);
  if (hwloc_set_cpubind(topology, all.get(), HWLOC_CPUBIND_PROCESS) != 0) {
    return {{},
            fmt::format("not bound to cores {} ({})", ids_text(share.cores), std::strerror(errno))};
  }
  Bound bound;
  const std::uint32_t domain = share.cores.front().domain, last_domain = share.cores.back().domain;
  bound.text = fmt::format("cores {} of NUMA node {}", ids_text(share.cores), domain);
  if (last_domain != domain) bound.text += fmt::format("-{}", last_domain);
  const bool several_domains = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE) > 1;
  if (last_domain == domain && several_domains) bound.text += bind_memory(topology, domain);
  bound.text += fmt::format(", threads {}", n_threads);
  if (n_threads <= cores.size()) {
    bound.text += ", each on its own core";
    for (std::size_t i = 0; i < n_threads; ++i) {
      own->sets.push_back(std::move(cores[i * cores.size() / n_threads]));
    }
    bound.thread_started = [own](std::size_t worker) {
      hwloc_set_cpubind(own->topology.get(), own->sets[worker].get(), HWLOC_CPUBIND_THREAD);
    };
  }
  return bound;
}

}  // namespace longreach::launch
