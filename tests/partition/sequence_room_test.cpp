#include "partition/sequence_room.hpp"

#include "tests/support/run_sizes.hpp"

#include <gtest/gtest.h>

namespace longreach::partition {
namespace {

using test::small_model;

Machine machine(std::size_t domain_bytes) {
  return {.n_nodes = {}, .domains = {{16, domain_bytes, 150e9}}, .node_memory_bytes = domain_bytes};
}

/// What a sequence of n tokens takes of a rank, as the plan counts it.
std::size_t planned_bytes(const Plan& plan, std::size_t rank, std::size_t n_tokens) {
  const RankPlan& own = plan.ranks[rank];
  const MemoryNeed need = memory_need(small_model(n_tokens), plan.stages[own.stage].blocks,
                                      {own.shard, plan.grid.n_shards});
  return need.states + need.cache + need.means;
}

TEST(SequenceRoom, IsWhatThePlanCountsOfTheFullestRank) {
  for (const auto& [n_stages, n_shards] : {std::pair{1, 1}, {1, 4}, {2, 1}, {3, 2}}) {
    const RunSizes sizes = small_model(100000);
    const Plan plan = plan_on_cluster(sizes, machine(std::size_t{64} << 30),
                                      {.n_stages = static_cast<std::size_t>(n_stages),
                                       .n_shards = static_cast<std::size_t>(n_shards)});
    const SequenceRoom room = sequence_room(sizes, plan);
    std::size_t least = ~std::size_t{0};
    for (const std::size_t n_tokens : {1, 100, 2047, 2048, 2049, 9000, 65536, 100000}) {
      std::size_t most = 0;
      for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
        most = std::max(most, planned_bytes(plan, rank, n_tokens));
      }
      // Nothing that the plan counts is missing; beside it there may be a chunk of each block.
      EXPECT_GE(room.each.of(n_tokens), most) << n_tokens;
      const std::size_t chunk = sizes.cache.chunk_bytes + sizes.cache.mean_bytes;
      EXPECT_LE(room.each.of(n_tokens), most + 4 * 3 * chunk + n_tokens * 4) << n_tokens;
    }
    for (const RankPlan& rank : plan.ranks) {
      const MemoryNeed& held = rank.memory;
      least = std::min(least, rank.place.memory_bytes - held.weights - held.buffers - held.program);
    }
    EXPECT_GE(room.bytes, least);
    EXPECT_GT(room.bytes, room.each.of(100000));
  }
}

TEST(SequenceRoom, IsNothingWhereTheModelTakesAll) {
  const RunSizes sizes = small_model(1000);
  Plan plan = plan_on_cluster(sizes, machine(std::size_t{64} << 30), {});
  plan.ranks[0].place.memory_bytes = plan.ranks[0].memory.weights;
  EXPECT_EQ(sequence_room(sizes, plan).bytes, 0);
}

}  // namespace
}  // namespace longreach::partition
