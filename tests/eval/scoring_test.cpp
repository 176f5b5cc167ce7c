#include "eval/scoring.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace longreach::eval {
namespace {

using Texts = std::vector<std::string>;

TEST(Score, ShareOfReferencesIsRulers) {
  // Expected values: string_match_all of RULER's scripts/eval/synthetic/constants.py, over 100.
  EXPECT_EQ(score(Match::kAll, " 8231042.", Texts{"8231042"}), 1);
  EXPECT_EQ(score(Match::kAll, "The numbers are 1234567 and 89", Texts{"1234567", "8923456"}), 0.5);
  EXPECT_EQ(score(Match::kAll, "vadot XYZ abc", Texts{"ABC", "xyz", "VADOT", "QQ"}), 0.75);
  EXPECT_EQ(score(Match::kAll, "", Texts{"a"}), 0);
  EXPECT_EQ(score(Match::kAll, "1. apple 2. pear", Texts{"apple", "pear", "plum"}), 2.0 / 3);
  EXPECT_EQ(score(Match::kAll, "a twice named a", Texts{"a", "a"}), 1);
}

TEST(Score, AnyReferenceIsRulersScoreOfQuestions) {
  EXPECT_EQ(score(Match::kAny, "It was in france, I think", Texts{"Paris", "France"}), 1);
  EXPECT_EQ(score(Match::kAny, "Berlin", Texts{"Paris", "France"}), 0);
}

TEST(Score, ExactComparesWithoutOuterBlanks) {
  EXPECT_EQ(score(Match::kExact, " 12345\n", Texts{"12345"}), 1);
  EXPECT_EQ(score(Match::kExact, "12345.", Texts{"12345"}), 0);
  EXPECT_EQ(score(Match::kExact, "1234", Texts{"12345"}), 0);
  EXPECT_EQ(score(Match::kExact, "1 2345", Texts{"12345"}), 0);
  EXPECT_EQ(score(Match::kExact, "Paris", Texts{"paris"}), 0);
  EXPECT_EQ(score(Match::kExact, "b", Texts{"a", "b "}), 1);
}

TEST(Score, NothingExpectedIsNeverRight) {
  for (const Match match : {Match::kExact, Match::kAny, Match::kAll})
    EXPECT_EQ(score(match, "anything", Texts{}), 0);
}

TEST(Stripped, TakesWhatPythonTakes) {
  EXPECT_EQ(stripped(" \t\r\n\v\f\x1c\x1fx y \n"), "x y");
  EXPECT_EQ(stripped(" \n"), "");
  EXPECT_EQ(stripped(std::string_view("\0x", 2)), std::string_view("\0x", 2));
}

}  // namespace
}  // namespace longreach::eval
