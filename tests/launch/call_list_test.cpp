#include "launch/call_list.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace longreach::launch {
namespace {

using Lengths = std::vector<std::size_t>;

TEST(ParseCalls, TakesLengthsAndRepetitions) {
  EXPECT_EQ(parse_calls("7", 7), (Lengths{7}));
  EXPECT_EQ(parse_calls("4,1*3", 7), (Lengths{4, 1, 1, 1}));
  EXPECT_EQ(parse_calls("2*2, 1", 7), (Lengths{2, 2, 1})) << "fewer than the tokens are allowed";
}

TEST(ParseCalls, RefusesWhatIsNoSplit) {
  for (const char* text : {"", ",", "1,", "0", "-1", "1*0", "1*", "*3", "a", "1.5", "+1", "1 1",
                           "99999999999999999999", "3,0*2"}) {
    testing::expect_refused([text] { parse_calls(text, 10); }, "--calls");
  }
}

TEST(ParseCalls, RefusesMoreThanThereIsWithoutExpandingIt) {
  for (const char* text : {"11", "1*11", "10,1", "1*18446744073709551615", "4294967296*4294967296",
                           "18446744073709551615"}) {
    testing::expect_refused([text] { parse_calls(text, 10); }, "--calls");
  }
}

TEST(ParsePositions, KeepsOrderAndRepetitions) {
  EXPECT_EQ(parse_positions("5,0,5", 6), (Lengths{5, 0, 5}));
}

TEST(ParsePositions, RefusesOtherTextAndWhatWasNotFed) {
  for (const char* text : {"", "6", "-1", "0,,1", "x", "0 1"}) {
    testing::expect_refused([text] { parse_positions(text, 6); }, "--positions");
  }
}

}  // namespace
}  // namespace longreach::launch
