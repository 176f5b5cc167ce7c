#include "kernels/threads/parallel.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
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

TEST(ThreadPool, SaysWhenThreadsAreRefused) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need address space
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = rlim_t{1} << 30;  // not enough for the stacks
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &limit), 0);
  const std::string sentence = test::refusal([] { ThreadPool(1024); });
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_TRUE(sentence.starts_with("--threads: of 1024 threads the system lets ")) << sentence;
#endif
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

TEST(ThreadPool, TellsEachThreadWhichItIs) {
  for (const std::size_t n_threads : {1, 2, 5}) {
    std::mutex mutex;
    std::map<std::size_t, std::thread::id> started;
    {
      const ThreadPool pool(n_threads, [&](std::size_t worker) {
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(started.emplace(worker, std::this_thread::get_id()).second);
      });
    }
    std::set<std::thread::id> threads;
    for (const auto& [worker, thread] : started) threads.insert(thread);
    EXPECT_EQ(started.size(), n_threads);
    EXPECT_EQ(threads.size(), n_threads);
    EXPECT_EQ(started.at(0), std::this_thread::get_id());
  }
}

TEST(ThreadPool, EndsWhileItsThreadsSleep) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(3);
}

}  // namespace
}  // namespace longreach::kernels
