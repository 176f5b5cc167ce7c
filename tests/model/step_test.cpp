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

}  // namespace
}  // namespace longreach::model
