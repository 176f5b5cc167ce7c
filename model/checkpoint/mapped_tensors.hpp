/// A file of tensors that is no model: an initial state, an adapter.
#pragma once

#include "model/checkpoint/mapped_file.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <filesystem>

namespace longreach::model {

/// Owns the mapping that its tensors point into. Move-only.
class MappedTensors {
 public:
  /// Opens a .pth, .safetensors or .st file and compares its checksums, if it has any. What a file
  /// is, its contents say. Errors: InputError naming the file, for anything torn, hostile or else.
  explicit MappedTensors(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// By the names the file has for them.
  const TensorMap& tensors() const { return tensors_; }
  /// Whether torch.save wrote it.
  bool is_torch() const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  TensorMap tensors_;
};

}  // namespace longreach::model
