#include "eval/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

namespace longreach::eval {
namespace {

TEST(Random, NameAndNumbersDecide) {
  const auto first = [](std::string_view name, std::initializer_list<std::uint64_t> numbers) {
    return Random(name, numbers).bits();
  };
  EXPECT_EQ(first("a", {1, 2}), first("a", {1, 2}));
  const std::set<std::uint64_t> different{first("a", {1, 2}), first("a", {2, 1}),
                                          first("b", {1, 2}), first("a", {1}),
                                          first("a", {1, 0}), first("", {1, 2})};
  EXPECT_EQ(different.size(), 6);
}

TEST(Random, NumbersStayTheSameFromVersionToVersion) {
  // Else results of one version could not be compared with another's.
  Random random("passkey", {1, 1024});
  EXPECT_EQ(random.bits(), 9454296230532075892U);
  EXPECT_EQ(random.below(1000), 992);
}

TEST(Random, EveryNumberBelowIsAboutAsLikely) {
  Random random("test", {});
  std::array<int, 5> counts{};
  for (int i = 0; i < 10'000; ++i) ++counts[random.below(counts.size())];
  // 2000 each; 40 is the standard deviation.
  for (const int count : counts) EXPECT_NEAR(count, 2000, 6 * 40);
  EXPECT_EQ(random.below(1), 0);
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t number = random.between(3, 4);
    EXPECT_TRUE(number == 3 || number == 4);
  }
}

TEST(Random, ShufflingKeepsWhatThereIs) {
  Random random("test", {});
  std::vector<int> items{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const std::vector<int> before = items;
  random.shuffle(items);
  EXPECT_NE(items, before);
  EXPECT_TRUE(std::ranges::is_permutation(items, before));
}

}  // namespace
}  // namespace longreach::eval
