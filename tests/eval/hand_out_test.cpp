#include "eval/hand_out.hpp"

#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace longreach::eval {
namespace {

using Results = std::map<std::size_t, Result>;
using Questions = std::vector<std::size_t>;

/// n questions of 100 tokens that begin with n_shared of the one before, but for the first.
std::vector<Place> places(std::size_t n, std::size_t n_shared) {
  std::vector<Place> all(n, Place{100, {}, 0, n_shared});
  all.front().n_shared = 0;
  return all;
}

Questions numbers(std::size_t begin, std::size_t end) {
  Questions all(end - begin);
  std::iota(all.begin(), all.end(), begin);
  return all;
}

/// What a replica that is alone in asking gets until nothing is left for it.
Questions rest(HandOut& hand_out, std::size_t replica) {
  Questions all;
  while (const auto question = hand_out.next(replica)) all.push_back(*question);
  return all;
}

TEST(HandOut, OneReplicaAsksInOrder) {
  for (const std::size_t n_shared : {0, 40, 90, 100}) {
    HandOut hand_out(places(20, n_shared), {}, 1);
    EXPECT_EQ(rest(hand_out, 0), numbers(0, 20));
  }
}

TEST(HandOut, QuestionsWithLittleInCommonGoToWhoIsReady) {
  HandOut hand_out(places(10, 50), {}, 3);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(hand_out.next(i * 7 % 3), i);
  for (std::size_t replica = 0; replica < 3; ++replica) {
    EXPECT_EQ(hand_out.next(replica), std::nullopt);
  }
}

TEST(HandOut, ARunStaysWithOneReplica) {
  std::vector<Place> all = places(5, 90);
  const std::vector<Place> second = all;
  all.insert(all.end(), second.begin(), second.end());
  HandOut hand_out(all, {}, 3);
  EXPECT_EQ(hand_out.next(2), 0);
  EXPECT_EQ(hand_out.next(0), 5);
  EXPECT_EQ(hand_out.next(1), std::nullopt);  // to read the common part takes longer than the rest
  EXPECT_EQ(rest(hand_out, 2), numbers(1, 5));
  EXPECT_EQ(rest(hand_out, 0), numbers(6, 10));
}

TEST(HandOut, TheSecondHalfOfALongRunIsTakenOver) {
  HandOut hand_out(places(30, 90), {}, 2);
  EXPECT_EQ(hand_out.next(0), 0);
  // 29 are left, of 10 tokens each; 15 of these and the 90 in common take less.
  EXPECT_EQ(hand_out.next(1), 15);
  EXPECT_EQ(rest(hand_out, 0), numbers(1, 15));
  EXPECT_EQ(hand_out.next(0), std::nullopt);  // 14 are left; 7 of them take 70 + 90
  EXPECT_EQ(rest(hand_out, 1), numbers(16, 30));
}

TEST(HandOut, WhatHasAResultIsNotAskedAgain) {
  Results results;
  for (const std::size_t i : {0, 3, 4, 9}) results[i] = {};
  HandOut hand_out(places(10, 0), results, 2);
  EXPECT_EQ(rest(hand_out, 1), (Questions{1, 2, 5, 6, 7, 8}));
  // What lies between two questions of a run does not end it, but for what breaks it.
  std::vector<Place> all = places(10, 90);
  all[4].n_shared = 10;
  HandOut two_runs(all, results, 2);
  EXPECT_EQ(two_runs.next(0), 1);
  EXPECT_EQ(two_runs.next(1), 5);
  EXPECT_EQ(rest(two_runs, 0), (Questions{2}));
  EXPECT_EQ(rest(two_runs, 1), numbers(6, 9));
}

TEST(HandOut, EachQuestionIsAskedOnce) {
  test::Random random;
  for (int trial = 0; trial < 200; ++trial) {
    const std::size_t n_replicas = random.whole(1, 6);
    std::vector<Place> all = places(random.whole(1, 60), 0);
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
    HandOut hand_out(all, results, n_replicas);
    Questions asked;
    // Who got nothing does not ask again.
    for (Questions ready = numbers(0, n_replicas); !ready.empty();) {
      const std::size_t i = random.whole(0, ready.size() - 1);
      if (const auto question = hand_out.next(ready[i])) {
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
