/// A checkpoint as published: a torch zip `.pth`, a `.safetensors` file, or an index of several of
/// these. Files are mapped, never copied, and nothing in them is executed. Used by model/weights
/// and launch/inspect.
#pragma once

#include "model/mapped_file.hpp"
#include "model/tensor.hpp"

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// A range of a mapped file with the checksum its container gives for it.
struct ChecksummedRange {
  std::string name;  ///< As the container calls it, for messages.
  const std::byte* data;
  std::size_t size;
  std::uint32_t crc32;
};

/// The named tensors of a model. Move-only: it keeps the files mapped that its tensors point into.
class Checkpoint {
 public:
  /// Opens a .pth or .safetensors file, a .safetensors.index.json, or a folder that holds exactly
  /// one of these; takes milliseconds whatever the size. The prefix `rwkv.` is taken off the names
  /// (model-wide rule of published RWKV-X files), `moba.` stays.
  /// Errors: InputError for anything torn, hostile or unknown.
  static Checkpoint open(const std::filesystem::path& path);

  /// The file (or index) that was opened.
  const std::filesystem::path& path() const { return path_; }
  /// All tensors by name.
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  /// The tensor of that name, or nullptr.
  const Tensor* find(std::string_view name) const;
  /// The tensor of that name and shape; leading dimensions of length 1 in the file are ignored.
  /// Errors: InputError naming file, tensor, expected and found shape.
  const Tensor& get(std::string_view name, const std::vector<std::size_t>& shape) const;

  /// Reads every byte that has a checksum and compares (.pth; .safetensors carries none).
  /// Errors: InputError naming the file and the entry.
  void verify() const;
  /// Tells the system that the pages of the files are no longer needed in memory.
  void release_pages() const;
};

}  // namespace longreach::model
