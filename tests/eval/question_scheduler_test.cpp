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

/// What a replica that is alone in asking, one question at a time, gets until nothing is left for
/// it.
Questions rest(QuestionScheduler& scheduler, std::size_t replica) {
  Questions all;
  while (const auto question = scheduler.next(replica)) {
    all.push_back(*question);
    scheduler.end(replica, *question);
  }
  return all;
}

/// What a replica gets that has room for n more.
Questions next(QuestionScheduler& scheduler, std::size_t replica, std::size_t n) {
  Questions all;
  while (all.size() < n) {
    const auto question = scheduler.next(replica);
    if (!question) break;
    all.push_back(*question);
  }
  return all;
}

void end(QuestionScheduler& scheduler, std::size_t replica, const Questions& questions) {
  for (const std::size_t question : questions) scheduler.end(replica, question);
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

TEST(QuestionScheduler, TheEndOfALongRunIsTakenOver) {
  QuestionScheduler scheduler(specs(30, 90), {}, 2);
  EXPECT_EQ(scheduler.next(0), 0);
  // Half of 100 and 16 x 10 here, 90 and 13 x 10 there.
  EXPECT_EQ(scheduler.next(1), 17);
  end(scheduler, 1, {17});
  EXPECT_EQ(next(scheduler, 1, 4), numbers(18, 22));
  end(scheduler, 1, numbers(18, 22));
  scheduler.end(0, 0);
  EXPECT_EQ(next(scheduler, 0, 16), numbers(1, 17));
  end(scheduler, 0, numbers(1, 17));
  // 8 are left, of 10 tokens each: to take over one is to read 100.
  EXPECT_EQ(scheduler.next(0), std::nullopt);
  EXPECT_EQ(rest(scheduler, 1), numbers(22, 30));
  EXPECT_EQ(scheduler.n_left(), 0);
}

TEST(QuestionScheduler, SeveralUnderWayAreOfOneRun) {
  std::vector<QuestionSpec> all = specs(6, 90);
  const std::vector<QuestionSpec> second = all;
  all.insert(all.end(), second.begin(), second.end());
  QuestionScheduler scheduler(all, {}, 2);
  EXPECT_EQ(next(scheduler, 0, 4), numbers(0, 4));
  EXPECT_EQ(next(scheduler, 1, 4), numbers(6, 10));
  EXPECT_EQ(scheduler.n_left(), 4);
  end(scheduler, 1, {7, 9});
  EXPECT_EQ(next(scheduler, 1, 2), numbers(10, 12));
  EXPECT_EQ(next(scheduler, 0, 4), numbers(4, 6));
}

TEST(QuestionScheduler, WhatIsUnderWayCountsWhenARunIsTakenOver) {
  QuestionScheduler scheduler(specs(30, 90), {}, 3);
  EXPECT_EQ(next(scheduler, 0, 16), numbers(0, 16));
  // Half of 100 + 15 x 10 under way here, and 14 x 10 left: 265. There 90 + 9 x 10, and 5 x 10
  // stay.
  EXPECT_EQ(next(scheduler, 1, 5), numbers(21, 26));
  // It goes on with what it took over.
  end(scheduler, 1, {21});
  EXPECT_EQ(scheduler.next(1), 26);
}

TEST(QuestionScheduler, WhoHasMuchUnderWayTakesOverLater) {
  std::vector<QuestionSpec> all = specs(60, 90);
  all[20].n_shared = 0;
  QuestionScheduler scheduler(all, {}, 2);
  EXPECT_EQ(next(scheduler, 0, 20), numbers(0, 20));  // half of 290
  EXPECT_EQ(scheduler.next(1), 20);
  end(scheduler, 1, {20});
  EXPECT_EQ(next(scheduler, 1, 24), numbers(21, 45));  // half of 240, and 150 left: 270
  EXPECT_EQ(next(scheduler, 1, 10), numbers(45, 55));  // half of 340, and 50 left: 220
  EXPECT_EQ(scheduler.next(0), std::nullopt);          // 145 + 90 + 10
  end(scheduler, 0, numbers(0, 19));
  EXPECT_EQ(scheduler.next(0), 55);  // 5 + 90 + 5 x 10 is sooner
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
    std::vector<Questions> under_way(n_replicas);
    // Who got nothing asks again if something was under way.
    for (Questions ready = numbers(0, n_replicas); !ready.empty();) {
      const std::size_t i = random.whole(0, ready.size() - 1);
      Questions& own = under_way[ready[i]];
      EXPECT_EQ(scheduler.n_left(), expected.size() - asked.size());
      const auto question = scheduler.next(ready[i]);
      if (question) {
        asked.push_back(*question);
        own.push_back(*question);
      } else if (own.empty()) {
        ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      if (!question || random.whole(0, 3) == 0) {
        scheduler.end(ready[i], own.back());
        own.pop_back();
      }
    }
    std::ranges::sort(asked);
    EXPECT_EQ(asked, expected);
  }
}

}  // namespace
}  // namespace longreach::eval
