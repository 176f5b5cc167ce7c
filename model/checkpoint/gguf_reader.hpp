/// Reads GGUF files, the format of llama.cpp. Used by model/checkpoint/checkpoint and by tokenizers
/// that come with a model.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::model {

/// What a GGUF file says besides its tensors. Texts point into the file's bytes.
/// Errors: InputError naming file and key, from every function but file(), for a value of another
/// type.
class GgufMetadata {
 public:
  /// A list of values of one type; `bytes` are theirs.
  struct List {
    std::uint32_t type = 0;  ///< Its number in the format.
    std::uint64_t size = 0;
    std::span<const std::byte> bytes;
  };
  using Value = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, List>;
  using Values = std::map<std::string, Value, std::less<>>;

  GgufMetadata(std::string file, Values values)
      : file_(std::move(file)), values_(std::move(values)) {}

  const std::string& file() const { return file_; }

  // What stands at a key, if anything does.
  std::optional<std::uint64_t> whole_number(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<std::string_view> text(std::string_view key) const;
  // Lists may have at most so many items, or are refused.
  std::optional<std::vector<std::string_view>> texts(std::string_view key,
                                                     std::uint64_t most) const;
  std::optional<std::vector<std::uint64_t>> whole_numbers(std::string_view key,
                                                          std::uint64_t most) const;

 private:
  const Value* find(std::string_view key) const;
  const List* find_list(std::string_view key, std::uint64_t most) const;
  [[noreturn]] void unexpected(std::string_view key, std::string_view expected) const;

  std::string file_;
  Values values_;
};

/// A whole file.
struct GgufFile {
  TensorFile contents;
  GgufMetadata metadata;
};

/// Whether a file begins as GGUF files do.
bool is_gguf(std::span<const std::byte> bytes);

/// The metadata and tensors of a GGUF file of version 2 or 3: counts, then keys with typed values,
/// then name, shape (the fastest dimension first), type and place of each tensor, then their
/// numbers, one tensor after the other at multiples of the alignment. The format has no checksums.
/// Numbers are f32, f16, bf16 or blocks (number_blocks.hpp). `file` names it in errors.
/// Errors: InputError for anything else.
/// Source: docs/gguf.md at github.com/ggml-org/ggml.
GgufFile read_gguf(std::span<const std::byte> bytes, std::string_view file);

/// The metadata alone. Errors: as read_gguf().
GgufMetadata read_gguf_metadata(std::span<const std::byte> bytes, std::string_view file);

}  // namespace longreach::model
