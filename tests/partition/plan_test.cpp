#include "partition/plan.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/run_sizes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <random>
#include <set>
#include <string>

namespace longreach::partition {
namespace {

using test::small_model;

constexpr std::size_t kGB = 1000000000;

/// Nodes of n_domains domains with 16 cores each.
Machine cluster(std::optional<std::size_t> n_nodes, std::size_t n_domains,
                std::size_t domain_bytes) {
  return {.n_nodes = n_nodes,
          .domains = std::vector<Domain>(n_domains, {16, domain_bytes, 150e9}),
          .node_memory_bytes = n_domains * domain_bytes};
}

Machine roomy() { return cluster({}, 2, 1000 * kGB); }

std::vector<std::size_t> rank_counts() {
  std::vector<std::size_t> counts;
  for (std::size_t n = 1; n <= 64; ++n) counts.push_back(n);
  counts.insert(counts.end(), {127, 1000, 4096});
  return counts;
}

/// Expects parts of consecutive ranks to cover n units.
void expect_cover(const Plan& plan, std::size_t stage, std::size_t n, Range RankPlan::*part) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < plan.grid.n_shards; ++i) {
    const Range own = plan.ranks[stage * plan.grid.n_shards + i].*part;
    ASSERT_EQ(own.begin, end);
    end = own.end;
  }
  ASSERT_EQ(end, n);
}

TEST(Plan, EverythingHasOneOwner) {
  const RunSizes sizes = small_model();
  for (const std::size_t n_ranks : rank_counts()) {
    const Plan plan = plan_on_cluster(sizes, roomy(), {.n_ranks = n_ranks});
    ASSERT_EQ(plan.ranks.size(), n_ranks);
    ASSERT_EQ(plan.grid.n_ranks(), n_ranks);
    const Layout layout = layout_of(plan);
    ASSERT_EQ(layout.grid, plan.grid);
    ASSERT_EQ(layout.stage_blocks.size(), plan.grid.n_stages);
    std::size_t end = 0;
    for (std::size_t stage = 0; stage < plan.grid.n_stages; ++stage) {
      const Range blocks = plan.stages[stage].blocks;
      ASSERT_EQ(layout.stage_blocks[stage], blocks);
      ASSERT_EQ(blocks.begin, end);
      ASSERT_GT(blocks.size(), 0U);
      end = blocks.end;
      const bool is_last = stage + 1 == plan.grid.n_stages;
      expect_cover(plan, stage, 12, &RankPlan::heads);
      expect_cover(plan, stage, 768, &RankPlan::channels);
      expect_cover(plan, stage, 3072, &RankPlan::hidden);
      expect_cover(plan, stage, is_last ? 65536 : 0, &RankPlan::vocabulary);
    }
    ASSERT_EQ(end, 16U);
    for (std::size_t i = 0; i < n_ranks; ++i) {
      ASSERT_EQ(plan.ranks[i].stage, i / plan.grid.n_shards);
      ASSERT_EQ(plan.ranks[i].shard, i % plan.grid.n_shards);
      ASSERT_LE(plan.ranks[i].memory.total(), plan.ranks[i].place.memory_bytes);
    }
  }
}

TEST(Plan, OneRankNeedsWhatARunOfOneRankDoes) {
  const Plan plan = plan_on_cluster(small_model(), roomy(), {});
  EXPECT_EQ(plan.grid, (Grid{1, 1}));
  EXPECT_EQ(plan.ranks.at(0).memory, memory_need(small_model()));
}

/// Bytes of a block that every shard holds whole: vectors, and first factors of low-rank pairs.
std::size_t replicated_weights(BlockKind kind, std::size_t block) {
  const std::size_t low_ranks = kind == BlockKind::kRwkv ? test::low_ranks_of(block) : 0;
  return test::n_vectors_of(kind, block) * 768 * 4 + low_ranks * 768 * 2;
}

TEST(Plan, BytesAddUpToTheWholeAndWhatEveryShardHolds) {
  const RunSizes sizes = small_model();
  const MemoryNeed whole = memory_need(sizes);
  for (const std::size_t n_ranks : rank_counts()) {
    const Plan plan = plan_on_cluster(sizes, roomy(), {.n_ranks = n_ranks});
    const std::size_t n_copies = plan.grid.n_shards - 1;
    MemoryNeed sum, expected = whole;
    for (const RankPlan& rank : plan.ranks) sum += rank.memory;
    for (std::size_t i = 0; i < sizes.blocks.size(); ++i) {
      const BlockKind kind = sizes.blocks[i].kind;
      expected.weights += n_copies * replicated_weights(kind, i);
      expected.states += n_copies * (kind == BlockKind::kRwkv ? 2 : 1) * 768 * 4;
    }
    expected.weights += n_copies * 2 * 2 * 768 * 4;  // first and last norm
    // 31 chunks and a quarter; the whole counts it as a chunk.
    if (n_copies > 0) expected.cache = whole.cache / (32 * 2048) * sizes.context_tokens;
    EXPECT_EQ(sum.weights, expected.weights) << n_ranks;
    EXPECT_EQ(sum.states, expected.states) << n_ranks;
    EXPECT_EQ(sum.cache, expected.cache) << n_ranks;
    // 31 closed chunks; every shard that has some fills panels of 32.
    EXPECT_EQ(sum.means, std::min<std::size_t>(plan.grid.n_shards, 31) * whole.means) << n_ranks;
  }
}

TEST(Plan, NoShardNeedsMoreThanTheFirst) {
  for (const std::size_t context : {1, 2047, 2048, 5000, 64000, 1000000}) {
    const RunSizes sizes = small_model(context);
    for (std::size_t count = 1; count <= 64; ++count) {
      const MemoryNeed first = memory_need(sizes, {0, 16}, {0, count});
      for (std::size_t i = 1; i < count; ++i)
        ASSERT_LE(memory_need(sizes, {0, 16}, {i, count}).total(), first.total());
    }
  }
}

/// Calls `visit` with every division of n blocks into n_stages.
void each_division(std::size_t n, std::size_t n_stages, std::vector<Range> before,
                   const std::function<void(const std::vector<Range>&)>& visit) {
  const std::size_t begin = before.empty() ? 0 : before.back().end;
  if (n_stages == 1) {
    before.push_back({begin, n});
    visit(before);
    return;
  }
  for (std::size_t end = begin + 1; end + n_stages - 1 <= n; ++end) {
    std::vector<Range> longer = before;
    longer.push_back({begin, end});
    each_division(n, n_stages - 1, std::move(longer), visit);
  }
}

/// Seconds a row of a stage of one rank that holds these of 9 blocks, by their sums.
double stage_seconds(const RunSizes& sizes, Range blocks, const Place& place, const Link& link,
                     double prompt_share) {
  std::size_t reads = stage_memory(sizes, blocks, {}).weights, multiply_adds = 0;
  for (std::size_t i = blocks.begin; i < blocks.end; ++i) {
    reads += block_reads(sizes, i, 1);
    multiply_adds += block_multiply_adds(sizes, i, 1);
  }
  double decoding = static_cast<double>(reads) / place.read_bytes_per_second;
  double prompt = static_cast<double>(multiply_adds) / place.multiply_adds_per_second();
  const std::size_t n_jobs = 6 * blocks.size() + (blocks.end == 9 ? 1 : 0);
  decoding += job_waiting(n_jobs, sizes.n_threads, 1);
  prompt += job_waiting(n_jobs, sizes.n_threads, sizes.step_rows);
  if (blocks.end < 9) {
    decoding += stage_transfer(sizes, link, 1);
    prompt += stage_transfer(sizes, link, sizes.step_rows);
  }
  return prompt_share * prompt + (1 - prompt_share) * decoding;
}

TEST(Plan, NoDivisionOfTheBlocksIsFaster) {
  const Machine machine = roomy();
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int repeat = 0; repeat < 20; ++repeat) {
    RunSizes sizes = small_model();
    sizes.blocks.resize(9);
    test::set_vocabulary(sizes, 32 * (1 + random() % 4000));
    for (BlockSizes& block : sizes.blocks) {
      block.weights.add_whole(random() % 60000000);
      block.multiply_adds.add_whole(random() % 30000000);
    }
    for (std::size_t n_stages = 1; n_stages <= 9; ++n_stages) {
      const double share = std::array{0.0, 0.8, 1.0}[random() % 3];
      const Plan plan = plan_on_cluster(
          sizes, machine, {.n_stages = n_stages, .n_shards = 1, .prompt_share = share});
      const Link& link = n_stages <= 2 ? machine.inside_node : machine.network;
      double best = 1e9;
      each_division(9, n_stages, {}, [&](const std::vector<Range>& stages) {
        double slowest = 0;
        for (std::size_t stage = 0; stage < n_stages; ++stage) {
          const Place place = place_of(machine, n_stages, stage);
          slowest = std::max(slowest, stage_seconds(sizes, stages[stage], place, link, share));
        }
        best = std::min(best, slowest);
      });
      double slowest = 0;
      for (const StagePlan& stage : plan.stages) {
        slowest = std::max(slowest, stage.mean_seconds(share));
      }
      EXPECT_NEAR(slowest / best, 1, 1e-9) << n_stages << " " << share;
      if (share == 0) {
        EXPECT_NEAR(1 / plan.tokens_per_second() / best, 1, 1e-9) << n_stages;
      }
      if (share == 1) {
        EXPECT_NEAR(1 / plan.prompt_tokens_per_second() / best, 1, 1e-9) << n_stages;
      }
    }
  }
}

TEST(Plan, TheHeadCountsAsBlocks) {
  RunSizes sizes = small_model();
  test::set_vocabulary(sizes, 1 << 20);
  const Plan plan = plan_on_cluster(sizes, roomy(), {.n_stages = 2, .n_shards = 1});
  EXPECT_EQ(plan.stages[1].blocks.size(), 1U) << "it costs more than all blocks together";
}

TEST(Plan, PromptsDoNotNeedTheHead) {
  RunSizes sizes = small_model();
  test::set_vocabulary(sizes, 1 << 20);
  const auto n_last = [&](std::size_t n_stages, double prompt_share) {
    const Plan plan = plan_on_cluster(
        sizes, roomy(), {.n_stages = n_stages, .n_shards = 1, .prompt_share = prompt_share});
    return plan.stages.back().blocks.size();
  };
  EXPECT_EQ(n_last(2, 1), 8U);
  EXPECT_EQ(n_last(4, 1), 4U);
  for (std::size_t n_stages = 2; n_stages <= 5; ++n_stages) {
    std::size_t before = n_last(n_stages, 0);
    EXPECT_EQ(before, 1U) << n_stages;
    std::set<std::size_t> numbers;
    for (double rest = 1; rest > 1e-6; rest *= 0.8) {
      const std::size_t now = n_last(n_stages, 1 - rest);
      ASSERT_GE(now, before) << n_stages << " " << rest;
      numbers.insert(before = now);
    }
    EXPECT_EQ(before, n_last(n_stages, 1)) << n_stages;
    EXPECT_GT(numbers.size(), 2U) << "nothing between the two ends for " << n_stages;
  }
}

TEST(Plan, WithoutPromptsTheirSpeedDoesNotCount) {
  Machine slow = roomy();
  slow.core_multiply_adds_per_second = 1;
  for (const std::size_t n_ranks : rank_counts()) {
    const Plan a = plan_on_cluster(small_model(), roomy(), {.n_ranks = n_ranks});
    const Plan b = plan_on_cluster(small_model(), slow, {.n_ranks = n_ranks});
    ASSERT_EQ(layout_of(a), layout_of(b)) << n_ranks;
  }
}

TEST(Plan, ThatOnlyReadsPromptsDoesNotCountDecoding) {
  Machine slow = cluster({}, 2, 1000 * kGB);
  for (Domain& domain : slow.domains) domain.read_bytes_per_second = 1;
  for (const std::size_t n_ranks : rank_counts()) {
    const PlanRequest request{.n_ranks = n_ranks, .prompt_share = 1};
    const Plan a = plan_on_cluster(small_model(), roomy(), request);
    const Plan b = plan_on_cluster(small_model(), slow, request);
    ASSERT_EQ(layout_of(a), layout_of(b)) << n_ranks;
  }
}

TEST(Plan, LongPromptsTakeStagesAndShortOnesAndDecodingShards) {
  // 16 blocks of one kind on cores that share a node, where stages are even.
  const auto grid = [](std::size_t context_tokens, double prompt_share) {
    RunSizes sizes = small_model(context_tokens);
    sizes.blocks.assign(16, test::small_block(BlockKind::kRwkv, 1));
    const Machine machine = cluster(1, 2, 1000 * kGB);
    return plan_on_cluster(sizes, machine, {.n_ranks = 2, .prompt_share = prompt_share}).grid;
  };
  EXPECT_EQ(grid(1000000, 0), (Grid{1, 2}));
  EXPECT_EQ(grid(1000000, 1), (Grid{2, 1}));
  EXPECT_EQ(grid(500, 1), (Grid{1, 2})) << "a single step is in one stage at a time";
}

TEST(Plan, ShardsShareANodeIfTheyCan) {
  for (const std::size_t n_nodes : {1, 2, 4, 8}) {
    Machine machine = cluster(n_nodes, 4, 1000 * kGB);
    machine.network = {0, 1e12};  // even where the network looks better than it can be
    const Plan plan = plan_on_cluster(small_model(), machine, {.n_ranks = 4 * n_nodes});
    EXPECT_EQ(plan.grid, (Grid{n_nodes, 4}));
    for (const RankPlan& rank : plan.ranks) EXPECT_EQ(rank.place.node, rank.stage);
  }
}

TEST(Plan, SameInputSamePlan) {
  for (const std::size_t n_ranks : rank_counts()) {
    const Plan a = plan_on_cluster(small_model(), roomy(), {.n_ranks = n_ranks});
    const Plan b = plan_on_cluster(small_model(), roomy(), {.n_ranks = n_ranks});
    ASSERT_EQ(a.grid, b.grid);
    for (std::size_t i = 0; i < a.stages.size(); ++i)
      ASSERT_EQ(a.stages[i].blocks, b.stages[i].blocks);
  }
}

TEST(Plan, MoreMemoryNeverMakesItWorse) {
  const RunSizes sizes = small_model(1000000);
  for (const std::size_t n_ranks : {1, 2, 6, 8, 12, 16}) {
    double seconds = 0;
    for (std::size_t megabytes = 1000; megabytes < 40000; megabytes += 500) {
      const Machine machine = cluster(1, n_ranks, megabytes * 1000000);
      double now = 0;
      try {
        now = plan_on_cluster(sizes, machine, {.n_ranks = n_ranks}).seconds_per_token();
      } catch (const base::InputError&) {
        ASSERT_EQ(seconds, 0) << "fitted with less: " << n_ranks << " " << megabytes;
        continue;
      }
      if (seconds != 0) {
        ASSERT_LE(now, seconds) << n_ranks << " " << megabytes;
      }
      seconds = now;
    }
    ASSERT_GT(seconds, 0) << n_ranks;
  }
}

/// The number behind `option` where it is last mentioned before "would fit".
std::size_t advised(const std::string& sentence, const std::string& option) {
  const std::size_t at = sentence.rfind(option + " ", sentence.find("would fit"));
  EXPECT_NE(at, std::string::npos) << sentence;
  return std::stoul(sentence.substr(at + option.size() + 1));
}

TEST(Plan, ARefusalNamesTheLeastNumberOfRanksThatFits) {
  for (const std::size_t context : {100000, 1000000, 10000000}) {
    const RunSizes sizes = small_model(context);
    for (const std::size_t megabytes : {250, 400, 700}) {
      for (const auto& n_nodes : {std::optional<std::size_t>(), std::optional<std::size_t>(2000)}) {
        const Machine machine = cluster(n_nodes, 2, megabytes * 1000000);
        const std::string sentence = test::refusal([&] { plan_on_cluster(sizes, machine, {}); });
        EXPECT_TRUE(sentence.starts_with("--ranks: ")) << sentence;
        const std::size_t n_ranks = advised(sentence, "--ranks");
        const Plan plan = plan_on_cluster(sizes, machine, {.n_ranks = n_ranks});
        EXPECT_EQ(plan.ranks.size(), n_ranks);
        for (const RankPlan& rank : plan.ranks)
          EXPECT_LE(rank.memory.total(), rank.place.memory_bytes) << sentence;
        test::expect_refused([&] { plan_on_cluster(sizes, machine, {.n_ranks = n_ranks - 1}); },
                             "--ranks " + std::to_string(n_ranks));
      }
    }
  }
}

TEST(Plan, ARefusalAsksForNodesWhenRanksDoNotHelp) {
  const RunSizes sizes = small_model(1000000);
  const std::string sentence =
      test::refusal([&] { plan_on_cluster(sizes, cluster(2, 2, kGB), {.n_ranks = 4}); });
  const std::size_t n_ranks = advised(sentence, "--ranks");
  const Machine larger = cluster(advised(sentence, "--nodes"), 2, kGB);
  EXPECT_EQ(plan_on_cluster(sizes, larger, {.n_ranks = n_ranks}).ranks.size(), n_ranks);
  EXPECT_NE(sentence.find("nor would any number with --nodes 2"), std::string::npos) << sentence;
}

TEST(Plan, AContradictionIsRefused) {
  const auto refused = [](const PlanRequest& request, const auto&... parts) {
    test::expect_refused([&] { plan_on_cluster(small_model(), roomy(), request); }, parts...);
  };
  refused({.n_ranks = 5, .n_stages = 2, .n_shards = 2}, "--stages", "--shards", "4", "5");
  refused({.n_stages = 17}, "--stages", "16", "17");
  refused({.n_ranks = 7, .n_stages = 2}, "--stages", "7");
  refused({.n_ranks = 7, .n_shards = 2}, "--shards", "7");
  refused({.n_ranks = 34, .n_shards = 2}, "--shards", "17", "16");
  refused({.n_stages = 16, .n_shards = 257}, "--ranks", "4096", "4112");
}

/// Ranks in random numbers on nodes of random memory.
Site random_site(std::mt19937& random, std::size_t n_ranks) {
  Site site;
  for (std::size_t node = 0; site.places.size() < n_ranks; ++node) {
    const std::size_t n_here = std::min(1 + random() % 4, n_ranks - site.places.size());
    const std::size_t memory_bytes = (200 + random() % 4000) * 1000000;
    const std::size_t n_cores = 1 + random() % 32;
    site.places.insert(site.places.end(), n_here,
                       {node, {}, n_cores, memory_bytes, default_bandwidth(n_cores)});
  }
  return site;
}

TEST(PlanForPlaces, CoversTheModelAndFitsWhereTheRanksAre) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::size_t n_planned = 0;
  for (int repeat = 0; repeat < 300; ++repeat) {
    const RunSizes sizes = small_model(1 + random() % 400000);
    const std::size_t n_ranks = 1 + random() % 24;
    const Site site = random_site(random, n_ranks);
    const auto plan = plan_on_site(sizes, site, {});
    const auto again = plan_on_site(sizes, site, {});
    ASSERT_EQ(plan.has_value(), again.has_value());
    if (!plan) continue;
    ++n_planned;
    ASSERT_EQ(layout_of(*plan), layout_of(*again));
    ASSERT_EQ(plan->ranks.size(), n_ranks);
    ASSERT_EQ(plan->grid.n_ranks(), n_ranks);
    ASSERT_EQ(plan->n_nodes, site.places.back().node + 1);
    std::size_t end = 0;
    for (std::size_t stage = 0; stage < plan->grid.n_stages; ++stage) {
      ASSERT_EQ(plan->stages[stage].blocks.begin, end);
      end = plan->stages[stage].blocks.end;
      ASSERT_NO_FATAL_FAILURE(expect_cover(*plan, stage, 12, &RankPlan::heads));
      ASSERT_NO_FATAL_FAILURE(expect_cover(*plan, stage, 3072, &RankPlan::hidden));
    }
    ASSERT_EQ(end, sizes.blocks.size());
    for (std::size_t i = 0; i < n_ranks; ++i) {
      ASSERT_LE(plan->ranks[i].memory.total(), site.places[i].memory_bytes);
      ASSERT_EQ(plan->ranks[i].place.node, site.places[i].node);
    }
  }
  EXPECT_GT(n_planned, 100U);
  EXPECT_LT(n_planned, 300U) << "nothing was too large";
}

TEST(PlanForPlaces, IsTheDescribedMachinesPlan) {
  for (const std::size_t n_ranks : rank_counts()) {
    const Plan described = plan_on_cluster(small_model(), roomy(), {.n_ranks = n_ranks});
    const auto found = plan_on_site(small_model(), site_of(roomy(), n_ranks), {});
    ASSERT_TRUE(found);
    EXPECT_EQ(layout_of(*found), layout_of(described));
    EXPECT_EQ(found->seconds_per_token(), described.seconds_per_token());
  }
}

/// One rank on each node.
Site site_with(const std::vector<std::size_t>& memory_bytes) {
  Site site;
  for (const std::size_t bytes : memory_bytes) {
    site.places.push_back({site.places.size(), {}, 16, bytes, 150e9});
  }
  return site;
}

TEST(PlanForPlaces, AStageOnASmallNodeGetsFewerBlocks) {
  const RunSizes sizes = small_model();
  const PlanRequest pipeline{.n_stages = 2};
  // As many bytes as the first or last three blocks take.
  const std::size_t first = memory_need(sizes, {0, 3}, {}).total();
  const std::size_t last = memory_need(sizes, {13, 16}, {}).total();
  const auto small_first = plan_on_site(sizes, site_with({first, 100 * kGB}), pipeline);
  const auto small_last = plan_on_site(sizes, site_with({100 * kGB, last}), pipeline);
  ASSERT_TRUE(small_first && small_last);
  EXPECT_EQ(small_first->stages[0].blocks, (Range{0, 3}));
  EXPECT_EQ(small_last->stages[1].blocks, (Range{13, 16}));
}

TEST(PlanForPlaces, ARoundTripOfNodesIsNoSharedNode) {
  Site site = site_with({8 * kGB, 8 * kGB, 8 * kGB});
  site.places[2].node = 0;  // as --map-by node puts ranks: the first and last are neighbours
  const auto crossing = plan_on_site(small_model(), site, {.n_shards = 3});
  site.places[1].node = 0;
  const auto inside = plan_on_site(small_model(), site, {.n_shards = 3});
  EXPECT_GT(crossing->seconds_per_token(), inside->seconds_per_token());
}

TEST(PlanForPlaces, TellsHowManyWouldFit) {
  const RunSizes sizes = small_model(1000000);
  const Site site = site_with({kGB, 2 * kGB});
  EXPECT_FALSE(plan_on_site(sizes, site, {}));
  const auto n_ranks = ranks_that_fit(sizes, site);
  ASSERT_TRUE(n_ranks);
  const auto plan_on = [&](std::size_t n) {
    return plan_on_site(sizes, site_with(std::vector<std::size_t>(n, kGB)), {});
  };
  EXPECT_TRUE(plan_on(*n_ranks));
  EXPECT_FALSE(plan_on(*n_ranks - 1));
  EXPECT_FALSE(ranks_that_fit(sizes, site_with({1000000})));
}

TEST(PlanForPlaces, AContradictionIsRefused) {
  const Site site = site_with({8 * kGB, 8 * kGB, 8 * kGB});
  const auto refused = [&](const PlanRequest& request, const auto&... parts) {
    test::expect_refused([&] { static_cast<void>(plan_on_site(small_model(), site, request)); },
                         parts...);
  };
  refused({.n_stages = 2, .n_shards = 2}, "--stages", "--shards", "4", "3");
  refused({.n_stages = 2}, "--stages", "3");
  refused({.n_shards = 2}, "--shards", "3");
}

}  // namespace
}  // namespace longreach::partition
