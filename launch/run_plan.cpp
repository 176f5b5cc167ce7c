#include "launch/run_plan.hpp"

#include "kernels/base/error.hpp"
#include "launch/machine/machine.hpp"

#include <algorithm>
#include <optional>

namespace longreach::launch {
namespace {

using partition::Plan;
using partition::RunSizes;
using partition::Site;

/// "16.0 GB are available; 3 ranks with as much each would do".
std::string what_would_fit(const RunRequest& request, const RunSizes& sizes, const Site& site) {
  const std::size_t n_ranks = site.places.size();
  const std::string available = bytes_text(partition::least_place(site.places).memory_bytes);
  std::string text = n_ranks == 1 ? fmt::format("{} are available; ", available)
                                  : fmt::format("each of {} ranks has {}; ", n_ranks, available);
  const bool is_given = request.grid.n_stages || request.grid.n_shards;
  if (const auto enough = partition::ranks_that_fit(sizes, site)) {
    text += fmt::format("{} ranks with as much each would do", *enough);
    if (is_given) text += " without --stages and --shards";
  } else {
    text += fmt::format("not even {} ranks with as much each would do", partition::kMaxRanks);
  }
  if (request.n_replicas > 1) text += fmt::format(" for each of {} replicas", request.n_replicas);
  return text;
}

}  // namespace

Plan plan_for_replica(const RunRequest& request, std::span<const dist::MachineReport> reports,
                      std::span<const CoreShare> shares, std::size_t replica) {
  const std::size_t n_ranks = reports.size() / request.n_replicas, first = replica * n_ranks;
  const Site site = partition::site_of(site_of(reports, shares), {first, first + n_ranks});
  std::size_t n_threads = request.n_threads;
  if (n_threads == 0) {
    const auto own = shares.subspan(first, n_ranks);
    n_threads = std::ranges::max(own, {}, &CoreShare::n_threads).n_threads;
  }
  const auto sizes_of = [&](std::size_t context_tokens) {
    RunSizes sizes = request.sizes(context_tokens);
    sizes.n_threads = n_threads;
    return sizes;
  };
  const RunSizes sizes = sizes_of(request.context_tokens);
  if (auto plan = partition::plan_on_site(sizes, site, request.grid)) return *std::move(plan);

  const partition::MemoryNeed need = partition::memory_need(sizes);
  const RunSizes model_alone = sizes_of(0);
  if (!partition::plan_on_site(model_alone, site, request.grid)) {
    base::input_error("--model: {} needs {} for its weights, {}", request.model,
                      bytes_text(need.weights + need.states),
                      what_would_fit(request, model_alone, site));
  }
  base::input_error("{}: {} tokens need {}, of which {} for the cache; {}", request.option,
                    request.context_tokens, bytes_text(need.total()), bytes_text(need.cache),
                    what_would_fit(request, sizes, site));
}

std::string range_text(partition::Range range) {
  if (range.size() == 0) return "-";
  if (range.size() == 1) return fmt::format("{}", range.begin);
  return fmt::format("{}-{}", range.begin, range.end - 1);
}

std::string rank_text(const Plan& plan, std::size_t rank) {
  const partition::RankPlan& own = plan.ranks[rank];
  return fmt::format("stage {} (blocks {}), shard {}; {} of {} ({} weights, {} cache)", own.stage,
                     range_text(plan.stages[own.stage].blocks), own.shard,
                     bytes_text(own.memory.total()), bytes_text(own.place.memory_bytes),
                     bytes_text(own.memory.weights), bytes_text(own.memory.cache));
}

std::string layout_text(const partition::Layout& layout) {
  std::string text = fmt::format("{} x {}", layout.grid.n_stages, layout.grid.n_shards);
  for (const partition::Range blocks : layout.stage_blocks) text += ", " + range_text(blocks);
  return text;
}

}  // namespace longreach::launch
