#include "kernels/parallel.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace longreach::kernels {
namespace {

TEST(ThreadPool, CallsEveryIndexOnce) {
  for (const std::size_t n_threads : {1, 2, 3, 7}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.size(), n_threads);
    for (const std::size_t count : {0, 1, 2, 3, 6, 7, 8, 1000}) {
      std::vector<int> calls(count);
      pool.for_each(count, [&](std::size_t i, std::size_t) { ++calls[i]; });
      EXPECT_EQ(calls, std::vector<int>(count, 1));
    }
  }
}

TEST(ThreadPool, GivesEachWorkerItsOwnScratch) {
  ThreadPool pool(4);
  std::vector<std::size_t> sums(pool.size());
  for (int round = 0; round < 2000; ++round) {
    pool.for_each(10, [&](std::size_t i, std::size_t worker) { sums[worker] += i; });
  }
  std::size_t total = 0;
  for (const std::size_t sum : sums) total += sum;
  EXPECT_EQ(total, 2000U * 45U);
}

TEST(ThreadPool, EndsWhileItsThreadsSleep) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(3);
}

}  // namespace
}  // namespace longreach::kernels
