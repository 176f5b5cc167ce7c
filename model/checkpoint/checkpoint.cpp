#include "model/checkpoint/checkpoint.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/sha256.hpp"
#include "model/checkpoint/byte_reader.hpp"
#include "model/checkpoint/file_names.hpp"
#include "model/checkpoint/printable.hpp"
#include "model/checkpoint/pth_reader.hpp"
#include "model/checkpoint/safetensors_reader.hpp"
#include "model/schema/gguf_config.hpp"
#include "model/schema/naming.hpp"
#include "model/schema/tensors.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;
using Bytes = std::span<const std::byte>;

constexpr std::string_view kIndexEnding = ".safetensors.index.json";
constexpr std::size_t kFingerprintDigits = 16;
constexpr std::size_t kLargestIndexBytes = std::size_t{16} << 20;

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- what a file is

enum class Format { kTorchZip, kOldTorch, kSafetensors, kGguf, kIndex, kGitLfsPointer, kUnknown };

bool looks_like_safetensors(Bytes bytes) {
  if (bytes.size() <= 8) return false;
  ByteReader reader(bytes, "");
  return reader.number<std::uint64_t>() >> 32 == 0 && text_of(bytes)[8] == '{';
}

Format format_of(Bytes bytes) {
  constexpr std::size_t kEnoughBytes = 64;
  const std::string_view text = text_of(bytes).substr(0, kEnoughBytes);
  // First, because the length that it starts with may look like anything else.
  if (looks_like_safetensors(bytes)) return Format::kSafetensors;
  if (is_gguf(bytes)) return Format::kGguf;
  if (is_torch_zip(bytes)) return Format::kTorchZip;
  // Before zip archives, torch wrote several pickles, of protocol 2, one behind the other.
  if (text.starts_with("\x80\2")) return Format::kOldTorch;
  if (text.starts_with("version https://git-lfs")) return Format::kGitLfsPointer;
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  if (start != text.npos && text[start] == '{') return Format::kIndex;
  return Format::kUnknown;
}

}  // namespace

TensorFile read_tensor_file(Bytes bytes, const std::filesystem::path& path) {
  const std::string file = path.string();
  switch (format_of(bytes)) {
    case Format::kTorchZip:
      return read_pth(bytes, file);
    case Format::kSafetensors:
      return read_safetensors(bytes, file);
    case Format::kOldTorch:
      input_error(
          "{}: was written by torch.save before version 1.6, re-save it with a newer torch: "
          "torch.save(torch.load(old), new)",
          file);
    case Format::kGitLfsPointer:
      input_error("{}: is only a git-lfs pointer to the checkpoint, fetch it with git lfs pull",
                  file);
    case Format::kGguf:  // Checkpoint opens it, as it says more than its tensors
    case Format::kIndex:
    case Format::kUnknown:
      break;
  }
  // The reader for what the name promises knows best what is wrong.
  if (is_safetensors_name(file)) return read_safetensors(bytes, file);
  input_error(
      "{}: expected a torch zip archive (.pth), a .safetensors, .st or .gguf file or an index of "
      "them",
      file);
}

namespace {

// ---- what a folder holds

std::filesystem::path choose_in_folder(const std::filesystem::path& folder) {
  std::vector<std::string> other_files, safetensors_files, indices;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(kIndexEnding)) {
      indices.push_back(name);
    } else if (is_safetensors_name(name)) {
      safetensors_files.push_back(name);
    } else if (is_checkpoint_name(name)) {
      other_files.push_back(name);
    }
  }
  if (error) input_error("{}: cannot be read: {}", folder.string(), error.message());

  std::vector<std::string> found = indices.empty() ? safetensors_files : indices;
  found.insert(found.end(), other_files.begin(), other_files.end());
  if (found.empty()) {
    input_error("{}: the folder holds no .pth, .safetensors, .st, .gguf or {} file",
                folder.string(), kIndexEnding);
  }
  if (found.size() > 1) {
    std::ranges::sort(found);
    const std::size_t count = found.size();
    constexpr std::size_t kMostListed = 8;
    if (count > kMostListed) {
      found.resize(kMostListed);
      found.emplace_back("...");
    }
    input_error("{}: expected one checkpoint in the folder, found {}: {}; name one of them",
                folder.string(), count, fmt::join(found, ", "));
  }
  return folder / found.front();
}

// ---- an index

/// Tensor names by the file that holds them.
using WeightMap = std::map<std::string, std::vector<std::string>>;

/// A file beside the index, not a path that leads elsewhere.
bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

WeightMap read_weight_map(Bytes bytes, const std::string& file) {
  if (bytes.size() > kLargestIndexBytes) {
    input_error("{}: has {} bytes, at most {} are read of an index", file, bytes.size(),
                kLargestIndexBytes);
  }
  const nlohmann::json index = base::parse_json(std::string(text_of(bytes)), file);
  const auto weights = index.find("weight_map");
  if (weights == index.end() || !weights->is_object()) {
    input_error("{}: expected an index with an object weight_map", file);
  }
  WeightMap result;
  for (const auto& [tensor, part] : weights->items()) {
    if (!part.is_string()) {
      input_error("{}: tensor {}: expected the name of a file", file, printable(tensor));
    }
    const auto& name = part.get_ref<const std::string&>();
    if (!is_plain_file_name(name)) {
      input_error("{}: tensor {}: expected a file in the index's folder, found '{}'", file,
                  printable(tensor), printable(name));
    }
    result[name].push_back(tensor);
  }
  return result;
}

std::vector<std::size_t> without_leading_ones(const std::vector<std::size_t>& shape) {
  const auto is_one = [](std::size_t extent) { return extent == 1; };
  return {std::ranges::find_if_not(shape, is_one), shape.end()};
}

}  // namespace

Checkpoint Checkpoint::open(const std::filesystem::path& path) {
  std::error_code no_folder;
  Checkpoint checkpoint;
  checkpoint.preset_ = find_preset(path.native());
  if (checkpoint.preset_ != nullptr) {
    checkpoint.path_ = path;
    checkpoint.tensors_ = preset_tensors(*checkpoint.preset_);
    return checkpoint;
  }
  checkpoint.path_ = std::filesystem::is_directory(path, no_folder) ? choose_in_folder(path) : path;
  MappedFile file(checkpoint.path_);
  TensorMap in_file = format_of(file.bytes()) == Format::kIndex
                          ? checkpoint.add_parts_of_index(file)
                          : checkpoint.add_file(checkpoint.path_, std::move(file));
  const std::string name = checkpoint.path_.string();
  if (checkpoint.metadata_) require_rwkv7(*checkpoint.metadata_);
  checkpoint.family_ = &family_of(in_file, name);
  checkpoint.tensors_ = native_tensors(std::move(in_file), *checkpoint.family_, name);
  return checkpoint;
}

TensorMap Checkpoint::add_file(const std::filesystem::path& path, MappedFile file) {
  // The headers in a large archive are far apart, and the weights between them are not wanted yet.
  file.expect(Access::kScattered);
  TensorFile contents;
  if (is_gguf(file.bytes())) {
    GgufFile gguf = read_gguf(file.bytes(), path.string());
    contents = std::move(gguf.contents);
    metadata_ = std::move(gguf.metadata);
  } else {
    contents = read_tensor_file(file.bytes(), path);
  }
  file.release_pages();
  file.expect(Access::kInOrder);
  packed_ = std::move(contents.packed);
  if (contents.checksums.empty()) unchecked_.push_back(file.bytes());
  std::ranges::move(contents.checksums, std::back_inserter(checksums_));
  files_.push_back(std::move(file));
  paths_.push_back(path);
  return std::move(contents.tensors);
}

TensorMap Checkpoint::add_parts_of_index(const MappedFile& index) {
  paths_.push_back(path_);
  const WeightMap parts = read_weight_map(index.bytes(), path_.string());
  std::set<std::string_view> all_names;
  for (const auto& [part, names] : parts) all_names.insert(names.begin(), names.end());
  TensorMap result;
  for (const auto& [part, names] : parts) {
    const std::filesystem::path part_path = path_.parent_path() / part;
    TensorMap tensors = add_file(part_path, MappedFile(part_path));
    for (const std::string& name : names) {
      auto tensor = tensors.extract(name);
      if (tensor.empty()) {
        input_error("{}: tensor {}: expected in {}, which does not hold it", path_.string(),
                    printable(name), part);
      }
      result.insert(std::move(tensor));  // a name stands once in the index
    }
    if (packed_) input_error("{}: {} is packed: expected it alone", path_.string(), part);
    // Of a tensor in several files the index chooses one, but it must know of all.
    for (const auto& [name, left_over] : tensors) {
      if (!all_names.contains(name)) {
        input_error("{}: {} holds tensor {}, which the index does not name", path_.string(), part,
                    name);
      }
    }
  }
  return result;
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const Tensor& Checkpoint::get(std::string_view name) const {
  const Tensor* const tensor = find(name);
  if (tensor != nullptr) return *tensor;
  const std::string in_file = family_ == nullptr ? std::string(name) : name_in_file(name, *family_);
  input_error("{}: tensor {} is missing{}", path_.string(), in_file,
              in_file == name ? "" : fmt::format(", the model's {}", name));
}

const Tensor& Checkpoint::get(std::string_view name, const std::vector<std::size_t>& shape) const {
  const Tensor& tensor = get(name);
  if (without_leading_ones(tensor.shape) != without_leading_ones(shape)) {
    input_error("{}: tensor {}: expected shape {}, found {}", path_.string(), name,
                shape_text(shape), shape_text(tensor.shape));
  }
  return tensor;
}

void Checkpoint::merge(Lora lora) {
  const Lora& merged = lora_.emplace(std::move(lora));
  const std::string file = merged.paths.front().string();
  if (family_ == nullptr) {
    input_error("{}: expected a checkpoint to merge it into, found random weights", file);
  }
  if (packed_) {
    input_error("{}: cannot be merged into packed weights; convert --packed --lora merges it first",
                file);
  }
  for (const auto& [name, product] : merged.products) {
    const std::string native = native_name(name, *family_);
    const auto found = tensors_.find(native);
    if (found == tensors_.end()) {
      input_error("{}: is a LoRA of {}, which {} {}", file, name, path_.string(),
                  tensors_.contains(factor_name(native, Factor::kFirst))
                      ? "has as two factors of low rank: merge it before convert --low-rank"
                      : "does not have");
    }
    Tensor& matrix = found->second;
    const std::vector<std::size_t> shape{product.n_out(), product.n_in()};
    if (matrix.added != nullptr) {
      input_error("{}: holds two LoRAs of {}, by several of its names", file, native);
    }
    // Low-rank factors of the model, as att.w1, lie the other way round in some files.
    if (native == "emb.weight" || !native.ends_with(".weight") || matrix.shape.size() != 2) {
      input_error(
          "{}: is a LoRA of {}, expected one of linear layers: projections, outputs, channel "
          "mixes, the head",
          file, name);
    }
    if (matrix.shape != shape) {
      input_error("{}: is a LoRA of {} for shape {}, found {}", file, name, shape_text(shape),
                  shape_text(matrix.shape));
    }
    matrix.added = &product;
  }
}

void Checkpoint::verify() const {
  for (const ChecksummedRange& range : checksums_) {
    check_crc32(range, [this] { release_all_pages(); });
  }
}

std::string Checkpoint::fingerprint() const {
  if (packed_ && !packed_->source.empty()) return packed_->source;
  base::Sha256 hash;
  const auto add = [&hash](std::size_t n_bytes, std::uint32_t checksum) {
    const std::array<std::uint64_t, 2> both{n_bytes, checksum};
    hash.update(std::as_bytes(std::span(both)));
  };
  for (const ChecksummedRange& range : checksums_) add(range.data.size(), range.crc32);
  for (const auto bytes : unchecked_) {
    add(bytes.size(), crc32_of(bytes, [this] { release_all_pages(); }));
  }
  if (lora_) {
    const std::string of_lora = lora_->fingerprint();
    hash.update(std::as_bytes(std::span(of_lora)));
  }
  return hash.hex_digest().substr(0, kFingerprintDigits);
}

void Checkpoint::release_pages() const {
  if (!packed_) return release_all_pages();
  for (const auto& [name, tensor] : tensors_) {
    if (!tensor.packed) advise({tensor.data, tensor.stored_bytes()}, Expected::kLater);
  }
}

void Checkpoint::release_all_pages() const {
  for (const MappedFile& file : files_) file.release_pages();
}

}  // namespace longreach::model
