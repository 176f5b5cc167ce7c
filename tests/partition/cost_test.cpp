#include "partition/cost.hpp"

#include "tests/support/run_sizes.hpp"

#include <gtest/gtest.h>

namespace longreach::partition {
namespace {

using test::small_model;

constexpr std::size_t kRwkv = 1, kSparse = 3;

TEST(Cost, MultiplyAddsAreThoseOfWeightsAndOfAttention) {
  const RunSizes sizes = small_model();
  constexpr std::size_t kMatrices = 4 * 768 * 768 + 2 * 768 * 3072, kLowRanks = 64 + 64 + 128 + 32;
  EXPECT_EQ(block_multiply_adds(sizes, kRwkv, 1), kMatrices + 2 * kLowRanks * 768);
  // Keys and values of two chunks and 512 newer rows, and the means of 31 chunks.
  constexpr std::size_t kAttention = (2 * (2 * 2048 + 512) + 31) * 768;
  EXPECT_EQ(block_multiply_adds(sizes, kSparse, 1), kMatrices + kAttention);
}

TEST(Cost, ShardsDivideMultiplyAdds) {
  const RunSizes sizes = small_model();
  const std::size_t whole = block_multiply_adds(sizes, kSparse, 1);
  EXPECT_EQ(block_multiply_adds(sizes, kSparse, 2), whole / 2);
  EXPECT_EQ(block_multiply_adds(sizes, kSparse, 12), whole / 12);
  // First low-rank factors are everywhere.
  EXPECT_EQ(2 * block_multiply_adds(sizes, kRwkv, 2),
            block_multiply_adds(sizes, kRwkv, 1) + test::low_ranks_of(kRwkv) * 768);
}

TEST(Cost, RowsOfAStepShareLatencies) {
  const RunSizes sizes = small_model();
  const Link waits{1e-3, 1e30}, carries{0, 1e9};
  for (const std::size_t block : {kRwkv, kSparse}) {
    EXPECT_DOUBLE_EQ(512 * block_exchange(sizes, block, 4, waits, 512),
                     block_exchange(sizes, block, 4, waits, 1));
    EXPECT_EQ(block_exchange(sizes, block, 4, carries, 512),
              block_exchange(sizes, block, 4, carries, 1));
    EXPECT_GT(block_exchange(sizes, block, 4, carries, 512), 0);
    EXPECT_EQ(block_exchange(sizes, block, 1, carries, 512), 0);
  }
  EXPECT_DOUBLE_EQ(stage_transfer(sizes, waits, 512), 1e-3 / 512);
  EXPECT_DOUBLE_EQ(stage_transfer(sizes, carries, 512), 2 * 768 * 4 / 1e9);
}

TEST(Cost, ThreadsWaitMoreTheMoreThereAre) {
  EXPECT_EQ(job_waiting(73, 1, 1), 0);
  EXPECT_DOUBLE_EQ(job_waiting(73, 2, 1), 73 * kJobSeconds);
  EXPECT_DOUBLE_EQ(job_waiting(73, 64, 1), 6 * 73 * kJobSeconds);
  EXPECT_DOUBLE_EQ(512 * job_waiting(73, 64, 512), job_waiting(73, 64, 1));
}

TEST(Cost, ATimeIsBoundByItsLargestPart) {
  EXPECT_EQ((RowTime{.read = 2, .waiting = 3, .exchange = 1}).bound(), Bound::kThreads);
  EXPECT_EQ((RowTime{.read = 2, .exchange = 1, .transfer = 1}).bound(), Bound::kMemory);
  EXPECT_EQ((RowTime{.arithmetic = 2, .exchange = 1, .transfer = 1}).bound(), Bound::kArithmetic);
  EXPECT_EQ((RowTime{.arithmetic = 1, .exchange = 2}).bound(), Bound::kExchange);
  EXPECT_EQ((RowTime{.read = 1, .exchange = 2, .transfer = 3}).bound(), Bound::kTransfer);
  EXPECT_EQ((RowTime{.read = 1, .arithmetic = 2, .exchange = 3, .transfer = 4}).total(), 10);
}

}  // namespace
}  // namespace longreach::partition
