/// World vocabularies in the metadata of GGUF files. Used by world_tokenizer.
#pragma once

#include "model/checkpoint/gguf_reader.hpp"
#include "model/tokenizer/world_vocabulary.hpp"

#include <vector>

namespace longreach::model {

/// Whether the file has a World vocabulary.
bool has_world_vocabulary(const GgufMetadata& metadata);

/// Its entries, in ascending order of bytes; an entry's line is its id. Id 0 is the end token,
/// whatever text it has, and ids that the file calls unused or control tokens have no entry.
/// Errors: InputError naming file, id and reason.
/// Source: _set_vocab_rwkv_world of llama.cpp's conversion: tokens as Python writes bytes, without
/// the quotes.
std::vector<WorldEntry> gguf_vocabulary(const GgufMetadata& metadata);

}  // namespace longreach::model
