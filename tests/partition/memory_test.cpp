#include "partition/memory.hpp"

#include "tests/support/run_sizes.hpp"

#include <gtest/gtest.h>

namespace longreach::partition {
namespace {

using test::small_model;

TEST(ShardedAmount, AreDealtInWholeUnits) {
  ShardedAmount amount;
  amount.add_whole(1000);
  amount.add_divided(3, 10);  // heads
  amount.add_divided(4, 100);
  amount.add_divided(3, 5);
  EXPECT_EQ(amount.of({}), 1000U + 3 * 15 + 4 * 100);
  EXPECT_EQ(amount.of({0, 2}), 1000U + 2 * 15 + 2 * 100);
  EXPECT_EQ(amount.of({1, 2}), 1000U + 1 * 15 + 2 * 100);
  EXPECT_EQ(amount.of({3, 4}), 1000U + 0 * 15 + 1 * 100);
}

TEST(ShardedAmount, OfAllShardsAreTheWholeAndItsCopies) {
  ShardedAmount amount;
  amount.add_whole(7);
  for (const std::size_t n_units : {1, 12, 24, 2048}) amount.add_divided(n_units, n_units + 1);
  for (std::size_t count = 1; count <= 64; ++count) {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_LE(amount.of({i, count}), amount.of({0, count}));
      sum += amount.of({i, count});
    }
    ASSERT_EQ(sum, amount.of({}) + (count - 1) * 7);
  }
}

TEST(Memory, IsTheSumOfBlocksAndWhatIsBesideThem) {
  const RunSizes sizes = small_model();
  const MemoryNeed need = memory_need(sizes);
  EXPECT_EQ(need.total(),
            need.weights + need.states + need.cache + need.means + need.buffers + need.program);
  MemoryNeed sum = stage_memory(sizes, {0, 16}, {});
  for (std::size_t i = 0; i < 16; ++i) sum += block_memory(sizes, i, {});
  EXPECT_EQ(sum, need);
}

TEST(Memory, OfTheEndsIsOnTheirStages) {
  const RunSizes sizes = small_model();
  const std::size_t inner = stage_memory(sizes, {3, 7}, {}).weights;
  EXPECT_EQ(inner, 0U);
  EXPECT_EQ(stage_memory(sizes, {0, 7}, {}).weights, sizes.input.of({}));
  EXPECT_EQ(stage_memory(sizes, {7, 16}, {0, 3}).weights, sizes.output.of({0, 3}));
  EXPECT_EQ(stage_memory(sizes, {7, 16}, {}).buffers - stage_memory(sizes, {3, 7}, {}).buffers,
            sizes.buffers.logit_bytes);
}

TEST(Memory, OfAnOpenChunkIsAWholeOneWhereChunksAreNotShared) {
  const RunSizes sizes = small_model(2 * 2048 + 100);
  const std::size_t sparse = 3;
  EXPECT_EQ(block_memory(sizes, sparse, {}).cache, 3 * sizes.cache.chunk_bytes);
  EXPECT_EQ(block_memory(sizes, sparse, {0, 2}).cache,
            sizes.cache.chunk_bytes + sizes.cache.open_bytes);
  EXPECT_EQ(block_memory(sizes, sparse, {1, 2}).cache, sizes.cache.chunk_bytes);
  EXPECT_EQ(block_memory(sizes, sparse, {2, 3}).cache, sizes.cache.open_bytes);
  EXPECT_EQ(block_memory(sizes, sparse, {3, 4}).cache, 0U);
}

TEST(Memory, OfMappedChunksIsWhatMayBeHeld) {
  const RunSizes all = small_model(10 * 2048);
  RunSizes sizes = all;
  sizes.mapped_tokens = 7 * 2048;
  const std::size_t chunk = sizes.cache.chunk_bytes;
  EXPECT_EQ(memory_need(sizes).cache, 4 * 3 * chunk);
  EXPECT_EQ(memory_need(sizes).means, memory_need(all).means);
  EXPECT_EQ(block_memory(sizes, 3, {0, 2}).cache, (5 - 4) * chunk);
  sizes.mapped_bytes = 2 * chunk;
  EXPECT_EQ(memory_need(sizes).cache, (4 * 3 + 2) * chunk);
  sizes.mapped_bytes = 1000 * chunk;
  EXPECT_EQ(memory_need(sizes), memory_need(all));
}

TEST(Memory, OfMeansComesInPanels) {
  EXPECT_EQ(memory_need(small_model(2048 * 32)).means, 4U * 32 * 768 * 4);
  EXPECT_EQ(memory_need(small_model(2048 * 33)).means, 4U * 64 * 768 * 4);
  EXPECT_EQ(memory_need(small_model(2047)).means, 0U);
}

TEST(Memory, OfScoresIsOfThreadsAndOwnChunks) {
  RunSizes sizes = small_model(2048 * 30);
  const std::size_t whole = stage_memory(sizes, {3, 7}, {}).buffers;
  const std::size_t half = stage_memory(sizes, {3, 7}, {0, 2}).buffers;
  EXPECT_EQ(whole - half, 2U * 15 * 64 * 4);
  sizes.n_threads = 3;
  EXPECT_EQ(stage_memory(sizes, {3, 7}, {}).buffers - whole, 30U * 64 * 4);
  // More chunks are not scored at a time.
  EXPECT_EQ(stage_memory(small_model(2048 * 9000), {3, 7}, {}).buffers,
            stage_memory(small_model(2048 * 8192), {3, 7}, {}).buffers);
}

TEST(Memory, CacheGrowsWithTheContextOnly) {
  const MemoryNeed at_64k = memory_need(small_model(65536));
  const MemoryNeed at_128k = memory_need(small_model(131072));
  EXPECT_EQ(at_64k.weights, at_128k.weights);
  EXPECT_EQ(at_64k.states, at_128k.states);
  EXPECT_EQ(at_128k.cache, 2 * at_64k.cache);
}

TEST(Memory, PlainRwkvHasNoCache) {
  RunSizes sizes = small_model();
  std::erase_if(sizes.blocks, [](const BlockSizes& b) { return b.kind == BlockKind::kSparse; });
  const MemoryNeed need = memory_need(sizes);
  EXPECT_EQ(need.cache + need.means, 0U);
}

}  // namespace
}  // namespace longreach::partition
