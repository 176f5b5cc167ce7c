/// The plan inside a run: what all ranks report of themselves becomes who computes what, where.
#pragma once

#include "dist/comm/machine_report.hpp"
#include "launch/machine/core_share.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace longreach::launch {

/// What is planned: sizes that depend on the run's length, and words for messages.
struct RunRequest {
  /// Sizes of a run of so many tokens; 0 for the model alone. The number of threads is left open.
  std::function<partition::RunSizes(std::size_t context_tokens)> sizes;
  std::size_t context_tokens = 0;
  std::string model;                 ///< The checkpoint's path.
  std::string option;                ///< Which option decides the length.
  partition::PlanRequest grid = {};  ///< And the share of prompt rows.
  std::size_t n_threads = 0;         ///< Of each rank; 0: those of its share.
  std::size_t n_replicas = 1;        ///< Among which the ranks are divided, in order; a divisor.
};

/// The plan for the ranks of a replica. The same on all of them.
/// Errors: InputError naming --stages or --shards for a grid that these ranks cannot be, --model
/// when its weights do not fit, else the option that decides the length; both with the number of
/// ranks that would fit.
partition::Plan plan_for_replica(const RunRequest& request,
                                 std::span<const dist::MachineReport> reports,
                                 std::span<const CoreShare> shares, std::size_t replica = 0);

/// "0-11", or "7" alone, or "-" for nothing.
std::string range_text(partition::Range range);

/// "stage 0 (blocks 0-7), shard 1; 1.2 GB of 4.0 GB (1.0 GB weights, 0.1 GB cache)".
std::string rank_text(const partition::Plan& plan, std::size_t rank);

/// The plan's layout in words that are equal only for equal layouts.
std::string layout_text(const partition::Layout& layout);

}  // namespace longreach::launch
