#include "generation/passages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace longreach::generation {
namespace {

TEST(Passages, NeighboursAreOnePassageAndTheHeaviestComesFirst) {
  const std::vector<Passage> found =
      best_passages({{96, 32, 0.25}, {0, 32, 0.125}, {320, 32, 0.3125}, {64, 32, 0.125}});
  const std::vector<Passage> want{{64, 64, 0.375}, {320, 32, 0.3125}, {0, 32, 0.125}};
  EXPECT_EQ(found, want);
  EXPECT_TRUE(best_passages({}).empty());
}

TEST(Passages, OfEqualWeightTheLowerComesFirst) {
  const std::vector<Passage> found = best_passages({{128, 32, 0.25}, {0, 32, 0.25}});
  EXPECT_EQ(found, (std::vector<Passage>{{0, 32, 0.25}, {128, 32, 0.25}}));
  // The same where some are left out.
  std::vector<Passage> many;
  for (std::size_t i = 2 * kMostSpans; i-- > 0;) many.push_back({i * 64, 32, 0.01});
  const std::vector<Passage> best = best_passages(many);
  ASSERT_EQ(best.size(), kMostSpans);
  for (std::size_t i = 0; i < best.size(); ++i) EXPECT_EQ(best[i].first, i * 64);
}

TEST(Passages, AnEndOfAChunkMayBeShort) {
  EXPECT_EQ(best_passages({{300, 32, 0.25}, {288, 12, 0.25}}),
            (std::vector<Passage>{{288, 44, 0.5}}));
}

TEST(AnswerEvidence, AveragesOverTokensAndEndsWithThePrompt) {
  using dist::AttendedSpan;
  AnswerEvidence evidence(100);
  EXPECT_TRUE(evidence.passages().empty());
  const std::vector<AttendedSpan> first{{0, 32, 0.5}, {64, 32, 0.25}}, second{{96, 32, 0.75}},
      third{{0, 32, 0.25}, {96, 4, 0.5}};
  EXPECT_EQ(evidence.add(first), (std::vector<Passage>{{0, 32, 0.5}, {64, 32, 0.25}}));
  EXPECT_TRUE(evidence.add(second).empty());  // reaches beyond the prompt
  EXPECT_EQ(evidence.add(third), (std::vector<Passage>{{96, 4, 0.5}, {0, 32, 0.25}}));
  EXPECT_TRUE(evidence.add({}).empty());
  const std::vector<Passage> want{{64, 36, 0.1875}, {0, 32, 0.1875}};
  std::vector<Passage> found = evidence.passages();
  std::ranges::sort(found, std::greater(), &Passage::first);
  EXPECT_EQ(found, want);
}

}  // namespace
}  // namespace longreach::generation
