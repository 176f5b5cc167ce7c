#include "launch/machine/core_share.hpp"

#include "partition/ownership.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>

namespace longreach::launch {
namespace {

using dist::Core;
using dist::MachineReport;
using Cores = std::vector<Core>;
using Ranks = std::vector<std::size_t>;

/// Ranks of a host whose cores overlap, and those cores of theirs that each of them may use.
struct Group {
  Ranks ranks;
  Cores cores;

  bool has_cores_enough() const { return cores.size() >= ranks.size(); }
};

Cores intersection(const Cores& a, const Cores& b) {
  Cores common;
  std::ranges::set_intersection(a, b, std::back_inserter(common));
  return common;
}

void add(Group& group, const Group& other) {
  Group sum;
  std::ranges::merge(group.ranks, other.ranks, std::back_inserter(sum.ranks));
  std::ranges::set_union(group.cores, other.cores, std::back_inserter(sum.cores));
  group = std::move(sum);
}

/// Cores that every one of the ranks may be bound to.
Cores common_cores(std::span<const MachineReport> reports, const Ranks& ranks) {
  Cores common = reports[ranks.front()].cores;
  for (const std::size_t rank : ranks) common = intersection(common, reports[rank].cores);
  return common;
}

std::vector<Group> groups_of(std::span<const MachineReport> reports, const Ranks& ranks) {
  std::vector<Group> groups;
  for (const std::size_t rank : ranks) {
    Group own{{rank}, reports[rank].bound};
    std::erase_if(groups, [&own](const Group& group) {
      if (intersection(group.cores, own.cores).empty()) return false;
      add(own, group);
      return true;
    });
    groups.push_back(std::move(own));
  }
  for (Group& group : groups) {
    group.cores = intersection(group.cores, common_cores(reports, group.ranks));
  }
  return groups;
}

/// Cores' worth of time that a host's control groups leave each of n_ranks.
std::size_t granted_cores(const MachineReport& report, std::size_t n_ranks) {
  return std::max<std::size_t>(1, report.granted_cores / n_ranks);
}

void share_host(std::span<const MachineReport> reports, const Ranks& ranks,
                std::span<CoreShare> shares) {
  std::vector<Group> groups = groups_of(reports, ranks);
  if (!std::ranges::all_of(groups, &Group::has_cores_enough)) {
    groups = {{ranks, common_cores(reports, ranks)}};
    if (!groups.front().has_cores_enough()) {
      for (const std::size_t rank : ranks) shares[rank].cores = reports[rank].cores;
      return;
    }
  }
  for (const Group& group : groups) {
    for (std::size_t i = 0; i < group.ranks.size(); ++i) {
      const MachineReport& report = reports[group.ranks[i]];
      const auto part = partition::part_of(group.cores.size(), i, group.ranks.size());
      const std::span own = std::span(group.cores).subspan(part.begin, part.size());
      CoreShare& share = shares[group.ranks[i]];
      share.cores.assign(own.begin(), own.end());
      share.n_threads = std::min(own.size(), granted_cores(report, ranks.size()));
      if (group.ranks.size() > 1) {
        share.holding = Holding::kShared;
      } else if (own.size() < report.cores.size()) {
        share.holding = Holding::kGiven;
      }
    }
  }
}

/// What cores read that have `n_own` of `n_used` busy cores of a domain.
double domain_bandwidth(double n_own, double n_used) {
  return std::min(n_own * partition::kCoreReadBytesPerSecond,
                  n_own / n_used * partition::kDomainReadBytesPerSecond);
}

}  // namespace

std::vector<std::vector<std::size_t>> ranks_of_hosts(std::span<const MachineReport> reports) {
  std::vector<Ranks> hosts;
  std::map<std::string, std::size_t> numbers;
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    const auto [host, is_new] = numbers.emplace(reports[rank].host, hosts.size());
    if (is_new) hosts.emplace_back();
    hosts[host->second].push_back(rank);
  }
  return hosts;
}

std::vector<CoreShare> share_cores(std::span<const MachineReport> reports) {
  std::vector<CoreShare> shares(reports.size());
  for (const Ranks& ranks : ranks_of_hosts(reports)) share_host(reports, ranks, shares);
  return shares;
}

partition::Site site_of(std::span<const MachineReport> reports, std::span<const CoreShare> shares) {
  partition::Site site;
  site.places.resize(reports.size());
  const std::vector<Ranks> hosts = ranks_of_hosts(reports);
  for (std::size_t node = 0; node < hosts.size(); ++node) {
    std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();
    std::map<std::uint32_t, double> n_used;  // cores of each domain, a shared one once per rank
    for (const std::size_t rank : hosts[node]) {
      memory_bytes = std::min<std::size_t>(memory_bytes, reports[rank].memory_bytes);
      for (const Core core : shares[rank].cores) ++n_used[core.domain];
    }
    for (const std::size_t rank : hosts[node]) {
      const CoreShare& share = shares[rank];
      partition::Place& place = site.places[rank];
      place.node = node;
      place.n_cores = share.n_threads;
      place.memory_bytes = memory_bytes / hosts[node].size();
      std::map<std::uint32_t, double> n_own;
      for (const Core core : share.cores) ++n_own[core.domain];
      for (const auto& [domain, n_cores] : n_own) {
        place.read_bytes_per_second += domain_bandwidth(n_cores, n_used[domain]);
      }
      place.read_bytes_per_second =
          std::min(place.read_bytes_per_second,
                   static_cast<double>(share.n_threads) * partition::kCoreReadBytesPerSecond);
      if (!n_own.empty()) place.domains = {n_own.begin()->first, n_own.rbegin()->first + 1};
    }
  }
  return site;
}

std::string ids_text(std::span<const Core> cores) {
  std::string text;
  for (std::size_t begin = 0, end = 0; begin < cores.size(); begin = end) {
    end = begin + 1;
    while (end < cores.size() && cores[end].id == cores[end - 1].id + 1) ++end;
    if (!text.empty()) text += ',';
    text += fmt::format("{}", cores[begin].id);
    if (end - begin > 1) text += fmt::format("-{}", cores[end - 1].id);
  }
  return text;
}

}  // namespace longreach::launch
