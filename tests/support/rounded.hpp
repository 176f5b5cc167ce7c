/// Numbers as bf16 has them.
#pragma once

#include "kernels/base/types.hpp"

#include <span>
#include <vector>

namespace longreach::test {

/// Each number as the nearest bf16.
inline std::vector<float> rounded(std::span<const float> values) {
  std::vector<float> result;
  for (const float value : values) result.push_back(base::to_float(base::to_bf16(value)));
  return result;
}

}  // namespace longreach::test
