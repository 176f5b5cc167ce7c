/// What this process may use of the machine it runs on.
#pragma once

#include "dist/comm/machine_report.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

struct hwloc_topology;
struct hwloc_bitmap_s;

namespace longreach::launch {

/// Cores of a node that a process sees, each ascending.
struct SeenCores {
  std::vector<dist::Core> cores;  ///< That the system lets it use.
  std::vector<dist::Core> bound;  ///< Those of them with a hardware thread that it is bound to.
};

/// The cores of a loaded topology for a process that is bound to some of its hardware threads;
/// these stand for cores where the machine reports none.
SeenCores seen_cores(hwloc_topology* topology, const hwloc_bitmap_s* bound);

/// Cores' worth of time that the control groups (v1 or v2, up to the root) grant, rounded up; at
/// least 1. `root` stands in for the root of the file system in tests.
std::size_t granted_cores(const std::filesystem::path& root = "/");

/// Physical cores of the process's CPU set, at most as many as its control group grants time for;
/// at least 1.
std::size_t usable_cores();

/// Bytes the process can still take: the least of what the system has available, what its control
/// groups (v1 or v2, up to the root) leave, and what its address-space limit leaves. `root` stands
/// in for the root of the file system in tests.
std::size_t available_memory_bytes(const std::filesystem::path& root = "/");

/// What this process reports to the other ranks about itself; what it runs is left to the caller.
/// Errors: InputError when LONGREACH_ISA names a path that this CPU cannot run.
dist::MachineReport describe_machine();

/// To be called before MPI starts, which reads the environment then. Where Open MPI's launcher has
/// put more ranks on this node than it grants cores, they are set to let others run while they
/// wait, unless the environment says otherwise: else an exchange takes a time slice.
void prepare_message_passing();

/// Bytes of the node's last-level caches together; 0 if it does not report them.
std::size_t cache_bytes();

/// What the CPU calls itself, or "unknown CPU".
std::string cpu_name();

/// "1.50 GB", "3.2 MB", "12 bytes": decimal units, for messages.
std::string bytes_text(std::size_t n_bytes);

}  // namespace longreach::launch
