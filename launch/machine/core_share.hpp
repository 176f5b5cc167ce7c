/// Which cores of its node each rank computes on, and what it thereby has of the machine: decided
/// by every rank alike from what all have reported.
#pragma once

#include "dist/comm/machine_report.hpp"
#include "partition/machine.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace longreach::launch {

/// How a rank holds its cores.
enum class Holding {
  kFree,    ///< All that the node grants, with whomever: nothing is bound.
  kGiven,   ///< Those that the launcher has bound it to, and no other rank.
  kShared,  ///< Its part of what several ranks may use.
};

/// The cores of one rank.
struct CoreShare {
  std::vector<dist::Core> cores = {};  ///< Ascending.
  Holding holding = Holding::kFree;
  std::size_t n_threads = 1;  ///< How many of them have time for the rank.
};

/// The share of each rank. Ranks of a host that the launcher has bound to different cores keep
/// them. Those that may use the same ones divide them, in order of NUMA nodes and into equal
/// numbers, so that ranks get whole NUMA nodes where these can be divided among them. If some were
/// bound to fewer cores than they are, all ranks of the host divide all its cores; if these are too
/// few as well, nobody is bound.
std::vector<CoreShare> share_cores(std::span<const dist::MachineReport> reports);

/// Where the ranks are, for the planner. The memory that is left of a host is divided equally.
partition::Site site_of(std::span<const dist::MachineReport> reports,
                        std::span<const CoreShare> shares);

/// The ranks of each host, ascending; hosts in order of their first ranks.
std::vector<std::vector<std::size_t>> ranks_of_hosts(std::span<const dist::MachineReport> reports);

/// "0-7,12": numbers of the cores.
std::string ids_text(std::span<const dist::Core> cores);

}  // namespace longreach::launch
