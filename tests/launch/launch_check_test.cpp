#include "launch/launch_check.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>

namespace longreach::launch {
namespace {

using dist::Core;
using dist::MachineReport;
using Weight = Finding::Weight;

/// A rank on a host of n_cores that is bound to those from `begin` up to `end`.
MachineReport rank_on(std::uint32_t n_cores, std::uint32_t begin, std::uint32_t end) {
  MachineReport report;
  report.host = "node7";
  report.isas = {"avx512", "avx2", "portable"};
  report.isa = "avx512";
  report.granted_cores = n_cores;
  for (std::uint32_t id = 0; id < n_cores; ++id) report.cores.push_back({0, id});
  for (std::uint32_t id = begin; id < end; ++id) report.bound.push_back({0, id});
  return report;
}

std::vector<Finding> check(const std::vector<MachineReport>& reports) {
  return check_launch(reports, share_cores(reports));
}

void expect_one(const std::vector<MachineReport>& reports, Weight weight, const std::string& part) {
  const auto findings = check(reports);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].weight, weight);
  EXPECT_NE(findings[0].text.find(part), std::string::npos) << findings[0].text;
}

TEST(LaunchCheck, AGoodLaunchIsNotTalkedAbout) {
  EXPECT_TRUE(check({rank_on(64, 0, 64)}).empty());
  EXPECT_TRUE(check({rank_on(64, 3, 4)}).empty()) << "one rank may be bound as its user likes";
  EXPECT_TRUE(check({rank_on(4, 0, 4), rank_on(4, 0, 4)}).empty());
  EXPECT_TRUE(check({rank_on(4, 0, 2), rank_on(4, 2, 4)}).empty());
  EXPECT_TRUE(check({rank_on(2, 0, 1), rank_on(2, 1, 2)}).empty());
}

TEST(LaunchCheck, TwoRanksOnOneCoreAreMoved) {
  expect_one({rank_on(4, 0, 1), rank_on(4, 0, 1)}, Weight::kNote, "node7");
}

TEST(LaunchCheck, MoreRanksThanCores) {
  std::vector ranks(3, rank_on(2, 0, 2));
  expect_one(ranks, Weight::kNote, "3 ranks share 2 cores");
  ranks[1].yields = false;
  expect_one(ranks, Weight::kWarning, "OMPI_MCA_mpi_yield_when_idle");
}

TEST(LaunchCheck, CoresThatNobodyMayUse) {
  expect_one({rank_on(64, 0, 1), rank_on(64, 1, 2)}, Weight::kWarning, "62 of 64");
}

TEST(LaunchCheck, InstructionSets) {
  MachineReport forced = rank_on(2, 0, 2);
  forced.isa = "portable";
  expect_one({forced}, Weight::kNote, "LONGREACH_ISA");
  MachineReport old = rank_on(2, 0, 2);
  old.isa = "portable";
  old.isas = {"portable"};
  expect_one({old}, Weight::kWarning, "slow");
}

TEST(RequireAlike, NamesTwoRanksThatDiffer) {
  std::vector ranks(4, rank_on(4, 0, 4));
  require_alike(ranks);
  ranks[2].isas = {"avx2", "portable"};
  ranks[2].isa = "avx2";
  ranks[2].host = "node9";
  test::expect_refused([&] { require_alike(ranks); }, "rank 0 on node7", "avx512",
                       "rank 2 on node9", "avx2", "LONGREACH_ISA=avx2");
  ranks[2] = ranks[1];
  ranks[3].run = "another";
  test::expect_refused([&] { require_alike(ranks); }, "rank 0", "rank 3", "another");
}

}  // namespace
}  // namespace longreach::launch
