#include "launch/machine/core_share.hpp"

#include "launch/machine/hwloc_handle.hpp"
#include "launch/machine/machine.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <set>

namespace longreach::launch {
namespace {

using dist::Core;
using dist::MachineReport;

/// What a process reports that is bound to `bound` ("0-3,8"; empty: to all) of a described node
/// which grants it `granted` (the same) of its hardware threads.
MachineReport report_on(const std::string& node, const std::string& bound = "",
                        const std::string& granted = "", const std::string& host = "a") {
  const Topology topology = new_topology();
  EXPECT_EQ(hwloc_topology_set_synthetic(topology.get(), node.c_str()), 0) << node;
  EXPECT_EQ(hwloc_topology_load(topology.get()), 0) << node;
  const Bitmap set = new_bitmap();
  if (!granted.empty()) {
    hwloc_bitmap_list_sscanf(set.get(), granted.c_str());
    EXPECT_EQ(hwloc_topology_restrict(topology.get(), set.get(), 0), 0);
  }
  hwloc_bitmap_fill(set.get());
  if (!bound.empty()) hwloc_bitmap_list_sscanf(set.get(), bound.c_str());
  SeenCores seen = seen_cores(topology.get(), set.get());
  return {.host = host,
          .isas = {"avx2"},
          .isa = "avx2",
          .cores = std::move(seen.cores),
          .bound = std::move(seen.bound),
          .granted_cores = std::numeric_limits<std::size_t>::max(),
          .memory_bytes = 64000,
          .yields = true,
          .run = {}};
}

std::vector<std::string> texts(const std::vector<CoreShare>& shares) {
  std::vector<std::string> result;
  for (const CoreShare& share : shares) result.push_back(ids_text(share.cores));
  return result;
}

using Texts = std::vector<std::string>;

TEST(CoreShare, OneRankHasWhatTheNodeGrants) {
  for (const std::string node :
       {"numa:1 core:4 pu:1", "numa:4 core:1 pu:1", "numa:2 core:2 pu:2"}) {
    const auto shares = share_cores(std::vector{report_on(node)});
    EXPECT_EQ(shares[0].cores.size(), 4U) << node;
    EXPECT_EQ(shares[0].n_threads, 4U);
    EXPECT_EQ(shares[0].holding, Holding::kFree);
  }
}

TEST(CoreShare, OneBoundRankKeepsItsCores) {
  const auto shares = share_cores(std::vector{report_on("numa:2 core:4 pu:1", "2-3")});
  EXPECT_EQ(ids_text(shares[0].cores), "2-3");
  EXPECT_EQ(shares[0].holding, Holding::kGiven);
}

TEST(CoreShare, RanksBoundToDomainsKeepThem) {
  const std::string node = "numa:2 core:4 pu:1";
  const auto shares = share_cores(std::vector{report_on(node, "4-7"), report_on(node, "0-3")});
  EXPECT_EQ(texts(shares), (Texts{"4-7", "0-3"}));
  EXPECT_EQ(shares[0].holding, Holding::kGiven);
}

TEST(CoreShare, UnboundRanksGetWholeDomainsWhereTheyDivide) {
  for (std::size_t n_domains = 1; n_domains <= 4; ++n_domains) {
    const std::string node = fmt::format("numa:{} core:6 pu:2", n_domains);
    for (std::size_t n_ranks = 2; n_ranks <= 4 * n_domains; ++n_ranks) {
      if (n_domains % n_ranks != 0 && n_ranks % n_domains != 0) continue;
      const auto shares = share_cores(std::vector(n_ranks, report_on(node)));
      for (const CoreShare& share : shares) {
        std::set<std::uint32_t> domains;
        for (const Core core : share.cores) domains.insert(core.domain);
        EXPECT_EQ(domains.size(), std::max<std::size_t>(1, n_domains / n_ranks))
            << n_domains << " " << n_ranks;
        EXPECT_EQ(share.holding, Holding::kShared);
      }
    }
  }
}

TEST(CoreShare, CoresThatRanksDoNotDivideAreDealtEvenly) {
  EXPECT_EQ(texts(share_cores(std::vector(3, report_on("numa:2 core:4 pu:1")))),
            (Texts{"0-2", "3-5", "6-7"}));
}

TEST(CoreShare, InterleavedNumbersStayInTheirDomain) {
  MachineReport report;
  report.host = "a";
  report.granted_cores = 8;
  report.cores = {{0, 0}, {0, 2}, {0, 4}, {0, 6}, {1, 1}, {1, 3}, {1, 5}, {1, 7}};
  report.bound = report.cores;
  EXPECT_EQ(texts(share_cores(std::vector(2, report))), (Texts{"0,2,4,6", "1,3,5,7"}));
}

TEST(CoreShare, RanksOfOneDomainDivideIt) {
  const std::string node = "numa:2 core:4 pu:1";
  const std::vector ranks{report_on(node, "0-3"), report_on(node, "4-7"), report_on(node, "0-3"),
                          report_on(node, "4-7")};
  EXPECT_EQ(texts(share_cores(ranks)), (Texts{"0-1", "4-5", "2-3", "6-7"}));
}

TEST(CoreShare, RanksBoundToOneCoreAreGivenTheNode) {
  const std::string node = "numa:2 core:2 pu:1";
  const auto shares = share_cores(std::vector(2, report_on(node, "0")));
  EXPECT_EQ(texts(shares), (Texts{"0-1", "2-3"}));
}

TEST(CoreShare, OnlyGrantedCoresAreDivided) {
  const auto shares = share_cores(std::vector(2, report_on("numa:2 core:4 pu:1", "", "1-3,6")));
  EXPECT_EQ(texts(shares), (Texts{"1-2", "3,6"}));
}

TEST(CoreShare, MoreRanksThanCoresAreNotBound) {
  const auto shares = share_cores(std::vector(5, report_on("numa:2 core:2 pu:2")));
  for (const CoreShare& share : shares) {
    EXPECT_EQ(share.holding, Holding::kFree);
    EXPECT_EQ(share.cores.size(), 4U);
    EXPECT_EQ(share.n_threads, 1U);
  }
}

TEST(CoreShare, GrantedTimeIsSharedToo) {
  std::vector ranks(3, report_on("numa:1 core:12 pu:1"));
  for (MachineReport& rank : ranks) rank.granted_cores = 7;
  for (const CoreShare& share : share_cores(ranks)) {
    EXPECT_EQ(share.cores.size(), 4U);
    EXPECT_EQ(share.n_threads, 2U);
  }
}

TEST(CoreShare, HardwareThreadsStandForCoresWhereThereAreNone) {
  EXPECT_EQ(texts(share_cores(std::vector(2, report_on("numa:1 pu:6")))), (Texts{"0-2", "3-5"}));
}

TEST(CoreShare, HostsAreApart) {
  const std::string node = "numa:1 core:4 pu:1";
  const auto shares = share_cores(
      std::vector{report_on(node, "", "", "a"), report_on(node, "", "", "b"),
                  report_on(node, "", "", "a"), report_on("numa:1 core:9 pu:1", "", "", "b")});
  EXPECT_EQ(texts(shares), (Texts{"0-1", "0-1", "2-3", "2-3"}))
      << "one of b's ranks is granted four of its nine cores, and nobody gets what it has not";
}

/// Random launches: nobody's cores are anybody else's, all are granted, none is lost that the
/// launcher left.
TEST(CoreShare, BoundRanksNeverMeet) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int repeat = 0; repeat < 300; ++repeat) {
    const std::size_t n_domains = 1 + random() % 4, n_cores = n_domains * (1 + random() % 6);
    const std::string node =
        fmt::format("numa:{} core:{} pu:{}", n_domains, n_cores / n_domains, 1 + random() % 2);
    const MachineReport whole = report_on(node);
    std::vector<MachineReport> ranks(1 + random() % 9, whole);
    for (MachineReport& rank : ranks) {
      if (random() % 2 == 0) continue;
      const std::size_t begin = random() % n_cores, n = 1 + random() % (n_cores - begin);
      rank.bound.assign(whole.cores.begin() + static_cast<std::ptrdiff_t>(begin),
                        whole.cores.begin() + static_cast<std::ptrdiff_t>(begin + n));
    }
    const auto shares = share_cores(ranks);
    const bool enough = ranks.size() <= n_cores;
    std::set<Core> used, bound;
    std::size_t n_used = 0;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      bound.insert(ranks[i].bound.begin(), ranks[i].bound.end());
      used.insert(shares[i].cores.begin(), shares[i].cores.end());
      n_used += shares[i].cores.size();
      ASSERT_GE(shares[i].cores.size(), 1U);
      ASSERT_GE(shares[i].n_threads, 1U);
      ASSERT_TRUE(std::ranges::is_sorted(shares[i].cores));
      if (ranks.size() > 1) {
        ASSERT_EQ(shares[i].holding != Holding::kFree, enough);
      }
    }
    if (enough) {
      ASSERT_EQ(used.size(), n_used);
      ASSERT_TRUE(std::ranges::includes(used, bound));
    }
    ASSERT_EQ(texts(share_cores(ranks)), texts(shares));
  }
}

TEST(SiteOf, RanksOfAHostShareItsMemory) {
  const std::string node = "numa:2 core:4 pu:1";
  std::vector ranks{report_on(node, "", "", "a"), report_on(node, "", "", "b"),
                    report_on(node, "", "", "a")};
  ranks[2].memory_bytes = 50000;
  const partition::Site site = site_of(ranks, share_cores(ranks));
  ASSERT_EQ(site.places.size(), 3U);
  EXPECT_EQ(site.places[0].node, 0U);
  EXPECT_EQ(site.places[1].node, 1U);
  EXPECT_EQ(site.places[2].node, 0U);
  EXPECT_EQ(site.places[0].memory_bytes, 25000U) << "half of what the more cautious one saw";
  EXPECT_EQ(site.places[1].memory_bytes, 64000U);
  EXPECT_EQ(site.places[0].n_cores, 4U);
  EXPECT_EQ(site.places[0].domains, (partition::Range{0, 1}));
  EXPECT_EQ(site.places[1].domains, (partition::Range{0, 2}));
}

TEST(SiteOf, CoresOfADomainShareItsBandwidth) {
  using partition::kCoreReadBytesPerSecond;
  using partition::kDomainReadBytesPerSecond;
  const std::string node = "numa:2 core:32 pu:1";
  const auto bandwidth = [](const std::vector<MachineReport>& ranks) {
    return site_of(ranks, share_cores(ranks)).places.front().read_bytes_per_second;
  };
  EXPECT_EQ(bandwidth({report_on(node)}), 2 * kDomainReadBytesPerSecond);
  EXPECT_EQ(bandwidth({report_on(node), report_on(node)}), kDomainReadBytesPerSecond);
  EXPECT_EQ(bandwidth({report_on(node, "0"), report_on(node, "1")}), kCoreReadBytesPerSecond);
  EXPECT_EQ(bandwidth(std::vector(4, report_on(node))), kDomainReadBytesPerSecond / 2);
}

}  // namespace
}  // namespace longreach::launch
