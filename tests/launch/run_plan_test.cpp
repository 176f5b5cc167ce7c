#include "launch/run_plan.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/run_sizes.hpp"

#include <gtest/gtest.h>

namespace longreach::launch {
namespace {

using dist::MachineReport;

constexpr std::size_t kMB = 1000000;

RunRequest request_for(std::size_t context_tokens) {
  return {.sizes =
              [](std::size_t n_tokens) {
                partition::RunSizes sizes = test::small_model(n_tokens);
                sizes.n_threads = 0;
                return sizes;
              },
          .context_tokens = context_tokens,
          .model = "/x/y.pth",
          .option = "-n"};
}

/// Ranks on hosts of their own.
std::vector<MachineReport> ranks_with(const std::vector<std::size_t>& megabytes) {
  std::vector<MachineReport> reports;
  for (const std::size_t amount : megabytes) {
    MachineReport& report = reports.emplace_back();
    report.host = "node" + std::to_string(reports.size());
    report.cores = report.bound = {{0, 0}, {0, 1}, {0, 2}, {0, 3}};
    report.granted_cores = 4;
    report.memory_bytes = amount * kMB;
  }
  return reports;
}

partition::Plan plan_on(const std::vector<MachineReport>& reports, const RunRequest& request) {
  return plan_for_replica(request, reports, share_cores(reports));
}

TEST(RunPlan, IsForTheRanksThereAre) {
  for (std::size_t n_ranks = 1; n_ranks <= 8; ++n_ranks) {
    const auto reports = ranks_with(std::vector<std::size_t>(n_ranks, 8000));
    const partition::Plan plan = plan_on(reports, request_for(64000));
    EXPECT_EQ(plan.ranks.size(), n_ranks);
    EXPECT_EQ(plan.n_nodes, n_ranks);
    EXPECT_EQ(layout_text(layout_of(plan)),
              layout_text(layout_of(plan_on(reports, request_for(64000)))));
  }
}

TEST(RunPlan, LeavesTheGridToWhoeverGivesOne) {
  RunRequest request = request_for(64000);
  request.grid = {.n_stages = 2, .n_shards = 3};
  const auto six = ranks_with(std::vector<std::size_t>(6, 8000));
  EXPECT_EQ(plan_on(six, request).grid, (partition::Grid{2, 3}));
  const auto five = ranks_with(std::vector<std::size_t>(5, 8000));
  test::expect_refused([&] { plan_on(five, request); }, "--stages", "--shards", "6", "5");
}

TEST(RunPlan, CountsTheBuffersOfAllThreads) {
  auto reports = ranks_with({16000, 16000});
  RunRequest request = request_for(300000);
  request.grid = {.n_stages = 2};
  const auto few = plan_on(reports, request).ranks[0].memory.buffers;
  reports[1].granted_cores = 1;
  EXPECT_EQ(plan_on(reports, request).ranks[0].memory.buffers, few);
  request.n_threads = 64;
  EXPECT_GT(plan_on(reports, request).ranks[0].memory.buffers, few);
}

TEST(RunPlan, RefusesWhatDoesNotFitAndSaysWhatWould) {
  test::expect_refused([&] { plan_on(ranks_with({100}), request_for(64000)); }, "--model",
                       "/x/y.pth", "100.0 MB are available", "ranks with as much each would do");
  const auto one = ranks_with({1000});
  const std::string sentence = test::refusal([&] { plan_on(one, request_for(300000)); });
  EXPECT_TRUE(sentence.starts_with("-n: 300000 tokens need ")) << sentence;
  const std::size_t n_enough = std::stoul(sentence.substr(sentence.rfind("; ") + 2));
  EXPECT_GT(n_enough, 1U);
  const auto enough = ranks_with(std::vector<std::size_t>(n_enough, 1000));
  EXPECT_EQ(plan_on(enough, request_for(300000)).ranks.size(), n_enough);
  const auto fewer = ranks_with(std::vector<std::size_t>(n_enough - 1, 1000));
  test::expect_refused([&] { plan_on(fewer, request_for(300000)); }, "-n");
  test::expect_refused(
      [&] {
        plan_on(ranks_with({1, 2}), request_for(10));
      },
      "--model", "each of 2 ranks has 1.0 MB", "not even 4096");
}

TEST(RunPlan, OfAReplicaIsThatOfItsRanks) {
  auto reports = ranks_with({8000, 8000, 8000, 8000, 3000, 3000});
  RunRequest request = request_for(64000);
  request.n_replicas = 3;
  for (std::size_t replica = 0; replica < 3; ++replica) {
    const partition::Plan plan = plan_for_replica(request, reports, share_cores(reports), replica);
    ASSERT_EQ(plan.ranks.size(), 2);
    EXPECT_EQ(plan.n_nodes, 2);
    EXPECT_EQ(plan.ranks[0].place.memory_bytes, (replica == 2 ? 3000 : 8000) * kMB);
  }
  // On one host all ranks share its memory, those of the other replicas included.
  for (MachineReport& report : reports) {
    report.host = "node1";
    report.memory_bytes = 12000 * kMB;
  }
  const partition::Plan plan = plan_for_replica(request, reports, share_cores(reports), 1);
  EXPECT_EQ(plan.n_nodes, 1);
  EXPECT_EQ(plan.ranks[0].place.memory_bytes, 2000 * kMB);

  request.context_tokens = 100'000'000;
  const std::string sentence =
      test::refusal([&] { plan_for_replica(request, reports, share_cores(reports), 0); });
  EXPECT_NE(sentence.find("each of 2 ranks has 2.00 GB"), std::string::npos) << sentence;
  EXPECT_NE(sentence.find("for each of 3 replicas"), std::string::npos) << sentence;
}

}  // namespace
}  // namespace longreach::launch
