/// What the checkpoint readers hand over, and the checks they share.
#pragma once

#include "model/checkpoint/checksum.hpp"
#include "model/checkpoint/tensor.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// Tensors by name.
using TensorMap = std::map<std::string, Tensor, std::less<>>;

/// What a file of packed weights says besides its tensors.
struct PackedInfo {
  kernels::PanelLayout layout;  ///< Of all its matrices.
  std::string source;           ///< The fingerprint of what it was made of; empty for a preset.
};

/// The tensors of one file, by the names it has for them; they point into its bytes.
struct TensorFile {
  TensorMap tensors;
  std::vector<ChecksummedRange> checksums;
  std::optional<PackedInfo> packed = {};
};

/// The product of a tensor's shape; `what` names file and tensor.
/// Errors: InputError for lengths of 0, more than 8 dimensions, or a product that does not fit.
std::size_t checked_size(const std::vector<std::size_t>& shape, std::string_view what);

/// Adds a tensor that a file calls `name`.
/// Errors: InputError if the name is taken, empty, over 255 bytes or not printable ASCII.
void add_tensor(TensorMap& tensors, std::string_view file, std::string_view name, Tensor tensor);

}  // namespace longreach::model
