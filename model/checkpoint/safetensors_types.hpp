/// Words of `.safetensors` headers, as they are read and written.
#pragma once

#include "kernels/base/types.hpp"

#include <cstddef>
#include <string_view>

namespace longreach::model {

/// The key of what a header says besides its tensors: texts by name.
inline constexpr std::string_view kSafetensorsMetadata = "__metadata__";

/// The first tensor of a file that is written, and all that are panels, begin at multiples of so
/// many bytes from the beginning of the file.
inline constexpr std::size_t kTensorAlignment = 64;

/// "F32", "BF16" or "F16".
constexpr std::string_view safetensors_type(base::DType dtype) {
  switch (dtype) {
    case base::DType::kF32:
      return "F32";
    case base::DType::kBf16:
      return "BF16";
    case base::DType::kF16:
      return "F16";
  }
  return {};
}

}  // namespace longreach::model
