/// A tensor as the tests of readers write it: 0, 1, 2 and so on.
#pragma once

#include "model/checkpoint/tensor.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace longreach::test {

inline void expect_counts_up(const model::Tensor& tensor, const std::vector<std::size_t>& shape) {
  EXPECT_EQ(tensor.shape, shape);
  EXPECT_TRUE(tensor.is_contiguous());
  for (std::size_t i = 0; i < tensor.size(); ++i) EXPECT_EQ(tensor.at(i), static_cast<float>(i));
}

}  // namespace longreach::test
