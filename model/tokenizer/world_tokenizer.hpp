/// Tokenizer of RWKV World vocabularies: greedy longest match in a trie (model-spec, section 8).
#pragma once

#include "model/tokenizer/tokenizer.hpp"
#include "model/tokenizer/world_vocabulary.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

class GgufMetadata;

/// A World vocabulary, the published one or any other in its format: ids may have gaps, and single
/// bytes may be missing.
class WorldTokenizer final : public Tokenizer {
 public:
  /// Parses a vocabulary held in memory; `name` stands for it in messages.
  /// Errors: InputError naming file, line and reason (world_vocabulary.hpp).
  static WorldTokenizer parse(std::string_view text, std::string_view name);
  /// The vocabulary of a GGUF file with this metadata (gguf_vocabulary.hpp). Errors: InputError.
  static WorldTokenizer from_gguf(const GgufMetadata& metadata);
  /// Reads a vocabulary file, or that of a GGUF file. Errors: as these, and for a file that cannot
  /// be read.
  static WorldTokenizer load(const std::filesystem::path& path);

  std::vector<base::TokenId> encode(std::string_view text) const override;
  std::optional<std::string_view> find(base::TokenId id) const override;
  std::string_view name() const override { return name_; }

 private:
  /// A node of the trie. The node reached by byte b is children_[children + b - low] if b is one of
  /// the `width` bytes from `low` on, and there is none otherwise.
  struct Node {
    base::TokenId token = kEndToken;  ///< Of the path to this node; the end token: of none.
    std::uint32_t children = 0;
    std::uint16_t width = 0;
    std::uint8_t low = 0;
  };

  WorldTokenizer(const std::vector<WorldEntry>& entries, std::string_view name);
  void build_table(const std::vector<WorldEntry>& entries);
  void build_trie(const std::vector<WorldEntry>& entries);
  /// The node one byte further; 0, the root, if there is none.
  std::uint32_t child(std::uint32_t node, char byte) const;

  std::string name_;
  std::string token_bytes_;                  ///< Of all tokens, in order of ids.
  std::vector<std::uint32_t> token_begins_;  ///< Id i has the bytes from [i] to [i + 1].
  std::vector<Node> nodes_;                  ///< The root first, breadth first.
  std::vector<std::uint32_t> children_;
};

}  // namespace longreach::model
