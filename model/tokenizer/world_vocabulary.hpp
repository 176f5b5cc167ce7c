/// The text form of RWKV World vocabularies. Used by world_tokenizer and gguf_vocabulary.
///
/// One entry a line: `id SP literal SP length`, where the literal is what Python's repr() writes
/// for a str (the token is its UTF-8 form) or for bytes, and the length counts the token's bytes.
/// Literals may hold spaces; lines end in a line feed, which the last one may lack.
#pragma once

#include "kernels/base/types.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// One line of a vocabulary.
struct WorldEntry {
  base::TokenId id;   ///< 1 .. kMaxWorldId.
  std::string bytes;  ///< Not empty.
  std::size_t line;   ///< Where it stands in the file, from 1.
};

/// Ids index a table, which this bounds; published vocabularies end near 2^16.
inline constexpr base::TokenId kMaxWorldId = 10'000'000;

/// Longer lines are refused: the longest published token has 128 bytes, and encoding can need as
/// many steps per byte of text as the longest token has bytes.
inline constexpr std::size_t kMaxWorldLineBytes = std::size_t{64} << 10;

/// Parses a vocabulary held in memory; `name` is its file's name for messages. The entries have
/// unique ids and unique bytes, and come in ascending order of bytes. Errors: InputError naming
/// file, line and reason.
std::vector<WorldEntry> parse_world_vocabulary(std::string_view text, std::string_view name);

/// The bytes that `text` stands for, which is what Python's repr() writes between the quotes of
/// bytes; `name` and `id` stand for it in messages. Errors: InputError for other escapes, and for
/// no bytes.
std::string parse_escaped_bytes(std::string_view text, std::size_t id, std::string_view name);

/// Sorts entries by their bytes; `unit` is what their lines are called in messages. Errors:
/// InputError naming the lines of two that have the same id or bytes, and for no entries at all.
void sort_entries(std::vector<WorldEntry>& entries, std::string_view name, std::string_view unit);

/// Larger files are refused; it bounds the memory of the trie. The published file has 1 MiB.
inline constexpr std::size_t kMaxWorldFileBytes = std::size_t{32} << 20;

}  // namespace longreach::model
