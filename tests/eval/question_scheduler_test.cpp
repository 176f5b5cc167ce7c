#include "eval/question_scheduler.hpp"

#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace longreach::eval {
namespace {

using Results = std::map<std::size_t, Result>;
using Questions = std::vector<std::size_t>;

/// n questions of 100 tokens that begin with n_shared of the one before, but for the first.
std::vector<QuestionSpec> specs(std::size_t n, std::size_t n_shared) {
  std::vector<QuestionSpec> all(n, QuestionSpec{100, {}, 0, n_shared});
  all.front().n_shared = 0;
  return all;
}

Questions numbers(std::size_t begin, std::size_t end) {
  Questions all(end - begin);
  std::iota(all.begin(), all.end(), begin);
  return all;
}

/// What a replica that is alone in asking gets until nothing is left for it.
Questions rest(QuestionScheduler& scheduler, std::size_t replica) {
  Questions all;
  while (const auto question = scheduler.next(replica)) all.push_back(*question);
  return all;
}

TEST(QuestionScheduler, OneReplicaAsksInOrder) {
  for (const std::size_t n_shared : {0, 40, 90, 100}) {
    QuestionScheduler scheduler(specs(20, n_shared), {}, 1);
    EXPECT_EQ(rest(scheduler, 0), numbers(0, 20));
  }
}

TEST(QuestionScheduler, QuestionsWithLittleInCommonGoToWhoIsReady) {
  QuestionScheduler scheduler(specs(10, 50), {}, 3);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(scheduler.next(i * 7 % 3), i);
  for (std::size_t replica = 0; replica < 3; ++replica) {
    EXPECT_EQ(scheduler.next(replica), std::nullopt);
  }
}

TEST(QuestionScheduler, ARunStaysWithOneReplica) {
  std::vector<QuestionSpec> all = specs(5, 90);
  const std::vector<QuestionSpec> second = all;
  all.insert(all.end(), second.begin(), second.end());
  QuestionScheduler scheduler(all, {}, 3);
  EXPECT_EQ(scheduler.next(2), 0);
  EXPECT_EQ(scheduler.next(0), 5);
  EXPECT_EQ(scheduler.next(1), std::nullopt);  // to read the common part takes longer than the rest
  EXPECT_EQ(rest(scheduler, 2), numbers(1, 5));
  EXPECT_EQ(rest(scheduler, 0), numbers(6, 10));
}

TEST(QuestionScheduler, TheSecondHalfOfALongRunIsTakenOver) {
  QuestionScheduler scheduler(specs(30, 90), {}, 2);
  EXPECT_EQ(scheduler.next(0), 0);
  // 29 are left, of 10 tokens each; 15 of these and the 90 in common take less.
  EXPECT_EQ(scheduler.next(1), 15);
  EXPECT_EQ(rest(scheduler, 0), numbers(1, 15));
  EXPECT_EQ(scheduler.next(0), std::nullopt);  // 14 are left; 7 of them take 70 + 90
  EXPECT_EQ(rest(scheduler, 1), numbers(16, 30));
}

TEST(QuestionScheduler, WhatHasAResultIsNotAskedAgain) {
  Results results;
  for (const std::size_t i : {0, 3, 4, 9}) results[i] = {};
  QuestionScheduler scheduler(specs(10, 0), results, 2);
  EXPECT_EQ(rest(scheduler, 1), (Questions{1, 2, 5, 6, 7, 8}));
  // What lies between two questions of a run does not end it, but for what breaks it.
  std::vector<QuestionSpec> all = specs(10, 90);
  all[4].n_shared = 10;
  QuestionScheduler two_runs(all, results, 2);
  EXPECT_EQ(two_runs.next(0), 1);
  EXPECT_EQ(two_runs.next(1), 5);
  EXPECT_EQ(rest(two_runs, 0), (Questions{2}));
  EXPECT_EQ(rest(two_runs, 1), numbers(6, 9));
}

TEST(QuestionScheduler, EachQuestionIsAskedOnce) {
  test::Random random;
  for (int trial = 0; trial < 200; ++trial) {
    const std::size_t n_replicas = random.whole(1, 6);
    std::vector<QuestionSpec> all = specs(random.whole(1, 60), 0);
    Results results;
    Questions expected;
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].n_shared = random.whole(0, 110);
      if (random.whole(0, 3) == 0) {
        results[i] = {};
      } else {
        expected.push_back(i);
      }
    }
    QuestionScheduler scheduler(all, results, n_replicas);
    Questions asked;
    // Who got nothing does not ask again.
    for (Questions ready = numbers(0, n_replicas); !ready.empty();) {
      const std::size_t i = random.whole(0, ready.size() - 1);
      if (const auto question = scheduler.next(ready[i])) {
        asked.push_back(*question);
      } else {
        ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    std::ranges::sort(asked);
    EXPECT_EQ(asked, expected);
  }
}

}  // namespace
}  // namespace longreach::eval
