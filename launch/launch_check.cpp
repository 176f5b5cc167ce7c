#include "launch/launch_check.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <set>

namespace longreach::launch {
namespace {

using dist::MachineReport;
using Ranks = std::vector<std::size_t>;
using Weight = Finding::Weight;

constexpr auto kSlowestIsa = "portable";

/// The fastest instruction set that all ranks have.
std::string common_isa(std::span<const MachineReport> reports) {
  for (const std::string& isa : reports.front().isas) {
    if (std::ranges::all_of(reports, [&isa](const MachineReport& report) {
          return std::ranges::count(report.isas, isa) > 0;
        })) {
      return isa;
    }
  }
  return kSlowestIsa;
}

/// Whether the rank computes on cores that the launcher had not bound it to.
bool was_moved(const MachineReport& report, const CoreShare& share) {
  return share.holding == Holding::kShared && !std::ranges::includes(report.bound, share.cores);
}

void check_host(std::span<const MachineReport> reports, std::span<const CoreShare> shares,
                const Ranks& ranks, std::vector<Finding>& findings) {
  const MachineReport& host = reports[ranks.front()];
  const std::size_t n_cores = host.cores.size();
  const bool is_bound = shares[ranks.front()].holding != Holding::kFree;
  if (ranks.size() > 1 && !is_bound) {
    const bool all_yield =
        std::ranges::all_of(ranks, [&](std::size_t rank) { return reports[rank].yields; });
    if (all_yield) {
      findings.push_back({Weight::kNote, fmt::format("{}: {} ranks share {} cores, and let one "
                                                     "another run while they wait",
                                                     host.host, ranks.size(), n_cores)});
    } else {
      findings.push_back(
          {Weight::kWarning,
           fmt::format("{}: {} ranks share {} cores and hold them while they wait, which makes "
                       "exchanges slow: start at most {} there, or set "
                       "OMPI_MCA_mpi_yield_when_idle=1",
                       host.host, ranks.size(), n_cores, n_cores)});
    }
    return;
  }
  if (std::ranges::any_of(
          ranks, [&](std::size_t rank) { return was_moved(reports[rank], shares[rank]); })) {
    findings.push_back(
        {Weight::kNote, fmt::format("{}: the launcher had bound several ranks to one core, each "
                                    "has been given its own",
                                    host.host)});
  }
  std::set<dist::Core> used;
  for (const std::size_t rank : ranks) {
    used.insert(shares[rank].cores.begin(), shares[rank].cores.end());
  }
  if (reports.size() > 1 && 2 * used.size() < n_cores) {
    findings.push_back(
        {Weight::kWarning,
         fmt::format("{}: the launcher keeps {} of {} cores from all ranks: with mpirun, "
                     "--map-by ppr:1:numa --bind-to numa gives each a NUMA node, --bind-to none "
                     "lets them divide the cores",
                     host.host, n_cores - used.size(), n_cores)});
  }
}

/// Of all ranks alike, see require_alike.
void check_isa(std::span<const MachineReport> reports, std::vector<Finding>& findings) {
  const MachineReport& first = reports.front();
  if (first.isas.front() == kSlowestIsa) {
    findings.push_back(
        {Weight::kWarning,
         fmt::format("{}: this CPU has no vector instructions that longreach is built for, it "
                     "computes with the {} path, which is slow",
                     first.host, kSlowestIsa)});
  } else if (first.isa != first.isas.front()) {
    findings.push_back({Weight::kNote, fmt::format("LONGREACH_ISA asks for {}, though {} is there",
                                                   first.isa, first.isas.front())});
  }
}

}  // namespace

std::vector<Finding> check_launch(std::span<const MachineReport> reports,
                                  std::span<const CoreShare> shares) {
  std::vector<Finding> findings;
  for (const Ranks& ranks : ranks_of_hosts(reports)) check_host(reports, shares, ranks, findings);
  check_isa(reports, findings);
  return findings;
}

void require_alike(std::span<const MachineReport> reports) {
  const MachineReport& first = reports.front();
  for (std::size_t rank = 1; rank < reports.size(); ++rank) {
    const MachineReport& report = reports[rank];
    if (report.isa != first.isa) {
      base::input_error(
          "rank 0 on {} would compute with {} and rank {} on {} with {}, which differ in their "
          "last bits: set LONGREACH_ISA={} for all ranks (mpirun -x LONGREACH_ISA={})",
          first.host, first.isa, rank, report.host, report.isa, common_isa(reports),
          common_isa(reports));
    }
    if (report.run != first.run) {
      base::input_error(
          "rank 0 on {} and rank {} on {} were not given the same model and options ({}; {})",
          first.host, rank, report.host, first.run, report.run);
    }
  }
}

}  // namespace longreach::launch
