#include "model/tokenizer/gguf_vocabulary.hpp"

#include "kernels/base/error.hpp"

#include <string>

namespace longreach::model {
namespace {

using base::input_error;

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kTypesKey = "tokenizer.ggml.token_type";
constexpr std::uint64_t kControl = 3, kUnused = 5;  // types of tokens

}  // namespace

bool has_world_vocabulary(const GgufMetadata& metadata) {
  return metadata.text("tokenizer.ggml.model") == "rwkv";
}

std::vector<WorldEntry> gguf_vocabulary(const GgufMetadata& metadata) {
  const std::string& file = metadata.file();
  if (!has_world_vocabulary(metadata)) {
    input_error("{}: tokenizer.ggml.model: expected rwkv, a World vocabulary", file);
  }
  constexpr std::uint64_t kMostTokens = std::uint64_t{kMaxWorldId} + 1;
  const auto tokens = metadata.texts(kTokensKey, kMostTokens);
  const auto types = metadata.whole_numbers(kTypesKey, kMostTokens);
  if (!tokens || !types || tokens->size() != types->size()) {
    input_error("{}: expected {} and {} of the same length, found {} and {}", file, kTokensKey,
                kTypesKey, tokens ? tokens->size() : 0, types ? types->size() : 0);
  }
  std::size_t n_bytes = 0;
  for (const std::string_view token : *tokens) n_bytes += token.size();
  if (n_bytes > kMaxWorldFileBytes) {
    input_error("{}: {}: has {} bytes, expected at most {}", file, kTokensKey, n_bytes,
                kMaxWorldFileBytes);
  }
  std::vector<WorldEntry> entries;
  for (std::size_t id = 1; id < tokens->size(); ++id) {
    if ((*types)[id] == kControl || (*types)[id] == kUnused) continue;
    entries.push_back(
        {static_cast<base::TokenId>(id), parse_escaped_bytes((*tokens)[id], id, file), id});
  }
  sort_entries(entries, file, "token");
  return entries;
}

}  // namespace longreach::model
