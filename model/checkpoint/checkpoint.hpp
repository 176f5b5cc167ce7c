/// A checkpoint as published: a torch zip `.pth`, a `.safetensors`, `.st` or `.gguf` file, or an
/// index of several of these; or a preset, whose random tensors need no file. Files are mapped,
/// never copied, and nothing in them is executed. Used by model/weights and
/// launch/commands/inspect.
#pragma once

#include "model/checkpoint/gguf_reader.hpp"
#include "model/checkpoint/lora.hpp"
#include "model/checkpoint/mapped_file.hpp"
#include "model/checkpoint/preset.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

struct Family;

/// The tensors of a .pth, .safetensors or .st file, by the names it has for them. Errors:
/// InputError naming the file, for anything else.
TensorFile read_tensor_file(std::span<const std::byte> bytes, const std::filesystem::path& path);

/// The named tensors of a model. Move-only: it keeps the files mapped that its tensors point into.
class Checkpoint {
 public:
  /// Opens a .pth, .safetensors, .st or .gguf file, a .safetensors.index.json, or a folder that
  /// holds exactly one of these (an index counts instead of the .safetensors files beside it);
  /// takes milliseconds whatever the size. What a file is, its contents say. Tensors have the
  /// model's names and shapes, whatever the file's are (model/schema/naming.hpp). "preset:NAME" is
  /// no path but gives the tensors of a preset. Errors: InputError for anything torn, hostile or
  /// unknown.
  static Checkpoint open(const std::filesystem::path& path);

  /// The file (or index) that was opened, or "preset:NAME".
  const std::filesystem::path& path() const { return path_; }
  /// All files that were opened, an index first; none for a preset.
  const std::vector<std::filesystem::path>& paths() const { return paths_; }
  /// The preset that was opened; nullptr for files.
  const Preset* preset() const { return preset_; }
  /// How the files name tensors; nullptr for a preset.
  const Family* family() const { return family_; }
  /// What merge() has added; nullptr if nothing was.
  const Lora* lora() const { return lora_ ? &*lora_ : nullptr; }
  /// What a GGUF file says besides its tensors; nullptr for other files.
  const GgufMetadata* metadata() const { return metadata_ ? &*metadata_ : nullptr; }
  /// What a file of packed weights says besides its tensors; nullptr for other files.
  const PackedInfo* packed() const { return packed_ ? &*packed_ : nullptr; }
  /// All tensors by name.
  const TensorMap& tensors() const { return tensors_; }
  /// The tensor of that name, or nullptr.
  const Tensor* find(std::string_view name) const;
  /// The tensor of that name. Errors: InputError naming file and tensor, also as the file has it.
  const Tensor& get(std::string_view name) const;
  /// The tensor of that name and shape; leading dimensions of length 1 are ignored on both sides.
  /// Errors: InputError naming file, tensor, expected and found shape.
  const Tensor& get(std::string_view name, const std::vector<std::size_t>& shape) const;

  /// Adds the products of a LoRA to the matrices they belong to, which are summed where they are
  /// read (model/checkpoint/matrix_rows.hpp). Its names are those of the model or of the family.
  /// Errors: InputError naming the LoRA's file and the matrix, for one that the model does not have
  /// or that has another shape; for a preset.
  void merge(Lora lora);

  /// The parts of the files that have checksums; of a tensor at most one.
  std::span<const ChecksummedRange> checksums() const { return checksums_; }
  /// Reads every byte that has a checksum and compares (.pth; .safetensors carries none). Keeps no
  /// more than some megabytes of the files in memory while it does. Errors: InputError naming the
  /// file and the entry.
  void verify() const;
  /// A hash that distinguishes files, and what was merged into them, by their contents, whatever
  /// their names. Takes the checksums
  /// that verify() compares, and reads all of a file that has none; keeps as little of it in
  /// memory. That of packed weights is that of the files they were made of.
  std::string fingerprint() const;
  /// Tells the system that the pages of the files are no longer needed in memory, but for packed
  /// weights, which are used where they lie.
  void release_pages() const;

 private:
  Checkpoint() = default;

  /// Keeps the file and its checksums and returns its tensors.
  TensorMap add_file(const std::filesystem::path& path, MappedFile file);
  /// Tells the system that no page of the files is needed.
  void release_all_pages() const;
  /// The tensors that the index names, each from the file it says.
  TensorMap add_parts_of_index(const MappedFile& index);

  std::filesystem::path path_;
  std::vector<std::filesystem::path> paths_;
  const Preset* preset_ = nullptr;
  const Family* family_ = nullptr;
  std::optional<GgufMetadata> metadata_;
  std::optional<PackedInfo> packed_;
  std::vector<MappedFile> files_;
  TensorMap tensors_;
  std::optional<Lora> lora_;
  std::vector<ChecksummedRange> checksums_;
  std::vector<std::span<const std::byte>> unchecked_;  ///< Files without checksums.
};

}  // namespace longreach::model
