/// What a fuzz target does with tensors that a reader accepted.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <algorithm>
#include <cstddef>

namespace longreach::test {

/// Reads the first and the last elements of each tensor, so that the address sanitizer sees any
/// that lies outside the file. All of them would be too slow: views may overlap.
inline void touch_tensors(const model::TensorMap& tensors) {
  constexpr std::size_t kElements = 16;
  volatile float sink = 0;
  for (const auto& [name, tensor] : tensors) {
    if (tensor.packed) {
      sink = static_cast<float>(tensor.data[0]) +
             static_cast<float>(tensor.data[tensor.packed->n_bytes - 1]);
      continue;
    }
    const std::size_t size = tensor.size();
    for (std::size_t i = 0; i < std::min(size, kElements); ++i) {
      sink = tensor.at(i);
      sink = tensor.at(size - 1 - i);
    }
  }
  static_cast<void>(sink);
}

}  // namespace longreach::test
