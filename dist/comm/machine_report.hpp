/// What every rank tells the others about itself before anything is planned, so that all make the
/// same plan from the same data.
#pragma once

#include "dist/comm/communicator.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace longreach::dist {

/// A core of a node. All ranks of the node number it alike.
struct Core {
  std::uint32_t domain = 0;  ///< The NUMA node it belongs to.
  std::uint32_t id = 0;      ///< Of its first hardware thread, as the system numbers these.

  auto operator<=>(const Core&) const = default;
};

/// What a rank may use of the node it runs on, and what it is about to run.
struct MachineReport {
  std::string host;
  std::vector<std::string> isas;    ///< What it can compute with, fastest first.
  std::string isa;                  ///< Of these, what it does compute with.
  std::vector<Core> cores;          ///< That it may be bound to, ascending.
  std::vector<Core> bound;          ///< Of these, those that it is bound to; ascending.
  std::uint64_t granted_cores = 1;  ///< Cores' worth of time that its control group grants.
  std::uint64_t memory_bytes = 0;   ///< That it could still take if it were alone on its node.
  bool yields = true;               ///< Whether it lets others run while it waits for messages.
  std::string run;  ///< Model and options, in whatever words; the same on all ranks.

  bool operator==(const MachineReport&) const = default;
};

/// The reports of all ranks, in order of ranks. Collective. Errors: InputError when ranks of unlike
/// builds do not understand each other.
std::vector<MachineReport> gather(Communicator& communicator, const MachineReport& own);

}  // namespace longreach::dist
