#include "model/checkpoint/tensor_file.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/printable.hpp"

#include <utility>

namespace longreach::model {
namespace {

using base::input_error;

constexpr std::size_t kMostDimensions = 8;
constexpr std::size_t kLongestName = 255;  // bytes

}  // namespace

std::size_t checked_size(const std::vector<std::size_t>& shape, std::string_view what) {
  if (shape.size() > kMostDimensions) {
    input_error("{}: has {} dimensions, at most {} are supported", what, shape.size(),
                kMostDimensions);
  }
  std::size_t size = 1;
  for (const std::size_t extent : shape) {
    if (extent == 0) input_error("{}: has no elements, shape {}", what, shape_text(shape));
    if (__builtin_mul_overflow(size, extent, &size)) {
      input_error("{}: shape {} is too large", what, shape_text(shape));
    }
  }
  return size;
}

void add_tensor(TensorMap& tensors, std::string_view file, std::string_view name, Tensor tensor) {
  if (name.empty() || name.size() > kLongestName || !is_printable(name)) {
    input_error("{}: tensor name '{}': expected 1 to {} printable ASCII characters", file,
                printable(name), kLongestName);
  }
  if (!tensors.emplace(name, std::move(tensor)).second) {
    input_error("{}: tensor {}: the file has this name twice", file, name);
  }
}

}  // namespace longreach::model
