#include "partition/memory.hpp"

#include "partition/cost.hpp"
#include "tests/support/run_sizes.hpp"

#include <gtest/gtest.h>

namespace longreach::partition {
namespace {

using test::small_model;

double ratio(std::size_t got, double want) { return static_cast<double>(got) / want; }

TEST(Memory, AgreesWithThePublishedSizes) {
  const MemoryNeed need = memory_need(small_model());
  // 219,361,536 parameters less the embedding (65536 x 768), which stays in the file.
  EXPECT_NEAR(ratio(need.weights, 2.0 * (219361536.0 - 65536.0 * 768)), 1, 0.01);
  EXPECT_NEAR(ratio(need.states, 2.36e6), 1, 0.05);  // of which shifts are a little
  // 12.3 kB per token of 32 whole chunks in 16 bits, so twice that in f32, plus means.
  EXPECT_NEAR(ratio(need.cache, 2 * 12.3e3 * 65536), 1, 0.01);
  EXPECT_EQ(need.means, 4U * 32 * 768 * 4) << "31 closed chunks fill a panel of 32";
  EXPECT_EQ(need.total(),
            need.weights + need.states + need.cache + need.means + need.buffers + need.program);
}

TEST(Memory, CacheGrowsWithTheContextOnly) {
  RunSizes sizes = small_model();
  sizes.context_tokens = 65536;
  const MemoryNeed at_64k = memory_need(sizes);
  sizes.context_tokens *= 2;
  const MemoryNeed at_128k = memory_need(sizes);
  EXPECT_EQ(at_64k.weights, at_128k.weights);
  EXPECT_EQ(at_64k.states, at_128k.states);
  EXPECT_NEAR(ratio(at_128k.cache, 2.0 * static_cast<double>(at_64k.cache)), 1, 0.01);
}

TEST(Memory, AFormatOfFewerBitsMakesTheCacheSmallerAndNothingElse) {
  RunSizes sizes = small_model();
  const MemoryNeed f32 = memory_need(sizes);
  sizes.kv = base::KvFormat::kBf16;
  const MemoryNeed bf16 = memory_need(sizes);
  sizes.kv = base::KvFormat::kInt8;
  const MemoryNeed int8 = memory_need(sizes);
  EXPECT_EQ(bf16.cache, f32.cache / 2);
  // Keys and values of 32 chunks, 12 heads of 64 numbers and a scale of 2 bytes, in 4 blocks.
  EXPECT_EQ(int8.cache, 4U * 2 * 65536 * 12 * (64 + 2));
  for (const MemoryNeed& need : {bf16, int8}) {
    EXPECT_EQ(need.total() - need.cache, f32.total() - f32.cache);
    EXPECT_EQ(need.means, f32.means);
  }
}

TEST(Memory, DecodingReadsAttendedRowsAsTheyAreKept) {
  RunSizes sizes = small_model();
  std::size_t sparse = 0;
  while (sizes.blocks[sparse].kind != BlockKind::kSparse) ++sparse;
  const std::size_t n_rows = 2 * 2048 + 64000 % 2048;
  const std::size_t f32 = block_reads(sizes, sparse, 1);
  sizes.kv = base::KvFormat::kBf16;
  EXPECT_EQ(f32 - block_reads(sizes, sparse, 1), 2 * n_rows * 768 * 2);
  sizes.kv = base::KvFormat::kInt8;
  EXPECT_EQ(f32 - block_reads(sizes, sparse, 1), 2 * n_rows * 12 * (3 * 64 - 2));
}

TEST(Memory, PlainRwkvHasNoCache) {
  RunSizes sizes = small_model();
  std::erase_if(sizes.blocks, [](const BlockSizes& b) { return b.kind == BlockKind::kSparse; });
  const MemoryNeed need = memory_need(sizes);
  EXPECT_EQ(need.cache + need.means, 0U);
}

TEST(Memory, WhatKeepsNoCacheNeedsNone) {
  RunSizes sizes = small_model();
  sizes.n_threads = 2;
  const MemoryNeed with = memory_need(sizes);
  sizes.keeps_cache = false;
  const MemoryNeed without = memory_need(sizes);
  EXPECT_EQ(without.cache + without.means, 0U);
  EXPECT_LT(without.buffers, with.buffers);  // no scores of chunks
  EXPECT_EQ(without.weights + without.states, with.weights + with.states);
}

TEST(Memory, HeldCallsCostTheirRows) {
  RunSizes sizes = small_model();
  const std::size_t before = memory_need(sizes).buffers;
  sizes.held_tokens = 64000;
  EXPECT_EQ(memory_need(sizes).buffers - before, (64000U - 256U) * 2 * 768 * 4);
}

}  // namespace
}  // namespace longreach::partition
