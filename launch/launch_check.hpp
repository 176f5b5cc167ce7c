/// What is wrong with a launch, seen from what all ranks have reported.
#pragma once

#include "dist/comm/machine_report.hpp"
#include "launch/machine/core_share.hpp"

#include <span>
#include <string>
#include <vector>

namespace longreach::launch {

/// Something that costs speed.
struct Finding {
  enum class Weight { kNote, kWarning };  ///< Wanted or mended; or for the user to mend.
  Weight weight;
  std::string text;  ///< A sentence without a full stop, with what can be done.
};

/// Two ranks on one core, more ranks than cores, cores that the launcher keeps from everybody, an
/// instruction set that is not the best.
std::vector<Finding> check_launch(std::span<const dist::MachineReport> reports,
                                  std::span<const CoreShare> shares);

/// Requires that all ranks run the same, with the same instruction set, on which bits depend.
/// Errors: InputError naming two ranks that differ.
void require_alike(std::span<const dist::MachineReport> reports);

}  // namespace longreach::launch
