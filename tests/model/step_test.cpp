#include "model/step.hpp"

#include <gtest/gtest.h>

namespace longreach::model {
namespace {

TEST(StepTest, KnowsSegmentAndPositionOfEveryRow) {
  const Step step({{7, 2, 100}, {3, 1, 0}, {9, 3, 5}}, RowSet(0b100010));
  const std::vector<std::size_t> segments{0, 0, 1, 2, 2, 2}, positions{100, 101, 0, 5, 6, 7};
  ASSERT_EQ(step.n_rows(), segments.size());
  for (std::size_t row = 0; row < segments.size(); ++row) {
    EXPECT_EQ(step.segment_of(row), segments[row]);
    EXPECT_EQ(step.position_of(row), positions[row]);
    EXPECT_EQ(step.wanted()[row], row == 1 || row == 5);
  }
  EXPECT_EQ(step.first_row(1), 2U);
  EXPECT_EQ(step.first_row(2), 3U);
}

TEST(LastRowsTest, AreThoseWantedTheOnesBeforeThemAndTheLastOnes) {
  // Rows 0-4, 5, 6-8 and 9-10; wanted: 2, the first of a segment, two in a row, the last of all.
  const Step step({{7, 5, 100}, {3, 1, 0}, {9, 3, 5}, {4, 2, 1}}, RowSet(0b10011000100));
  const LastRows last(step);
  EXPECT_EQ(last.rows, (std::vector<std::size_t>{1, 2, 4, 5, 6, 7, 8, 9, 10}));
  std::vector<std::uint32_t> n_rows, sessions;
  for (const Segment& segment : last.step.segments()) {
    n_rows.push_back(segment.n_rows);
    sessions.push_back(segment.session);
  }
  EXPECT_EQ(n_rows, (std::vector<std::uint32_t>{3, 1, 3, 2}));
  EXPECT_EQ(sessions, (std::vector<std::uint32_t>{7, 3, 9, 4}));
}

TEST(LastRowsTest, OfALongestStepAreItsLastOne) {
  EXPECT_EQ(LastRows(Step({{1, kMostStepRows, 0}})).rows,
            std::vector<std::size_t>{kMostStepRows - 1});
  RowSet all;
  all.set();
  EXPECT_EQ(LastRows(Step({{1, kMostStepRows, 0}}, all)).rows.size(), kMostStepRows);
}

}  // namespace
}  // namespace longreach::model
