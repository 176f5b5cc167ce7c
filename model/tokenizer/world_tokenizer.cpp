#include "model/tokenizer/world_tokenizer.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/read_file.hpp"
#include "model/checkpoint/gguf_reader.hpp"
#include "model/checkpoint/mapped_file.hpp"
#include "model/tokenizer/gguf_vocabulary.hpp"

#include <algorithm>
#include <limits>
#include <span>

namespace longreach::model {
namespace {

constexpr std::uint32_t kRoot = 0;

std::uint32_t checked_index(std::size_t index) {
  LR_CHECK(index <= std::numeric_limits<std::uint32_t>::max());  // kMaxWorldFileBytes sees to it
  return static_cast<std::uint32_t>(index);
}

}  // namespace

WorldTokenizer::WorldTokenizer(const std::vector<WorldEntry>& entries, std::string_view name)
    : name_(name) {
  build_table(entries);
  build_trie(entries);
}

WorldTokenizer WorldTokenizer::parse(std::string_view text, std::string_view name) {
  return {parse_world_vocabulary(text, name), name};
}

WorldTokenizer WorldTokenizer::from_gguf(const GgufMetadata& metadata) {
  return {gguf_vocabulary(metadata), metadata.file()};
}

WorldTokenizer WorldTokenizer::load(const std::filesystem::path& path) {
  const std::string name = path.string();
  if (const MappedFile file(path); is_gguf(file.bytes())) {
    return from_gguf(read_gguf_metadata(file.bytes(), name));
  }
  return parse(base::read_file(path, kMaxWorldFileBytes), name);
}

void WorldTokenizer::build_table(const std::vector<WorldEntry>& entries) {
  std::size_t n_ids = 1;
  for (const WorldEntry& entry : entries) {
    n_ids = std::max(n_ids, static_cast<std::size_t>(entry.id) + 1);
  }
  token_begins_.assign(n_ids + 1, 0);
  for (const WorldEntry& entry : entries) {
    token_begins_[static_cast<std::size_t>(entry.id) + 1] = checked_index(entry.bytes.size());
  }
  for (std::size_t i = 1; i <= n_ids; ++i) token_begins_[i] += token_begins_[i - 1];
  token_bytes_.resize(token_begins_.back());
  for (const WorldEntry& entry : entries) {
    entry.bytes.copy(token_bytes_.data() + token_begins_[static_cast<std::size_t>(entry.id)],
                     entry.bytes.size());
  }
}

void WorldTokenizer::build_trie(const std::vector<WorldEntry>& entries) {
  // Sorted entries with a common beginning stand together: that run is what a node of the trie is.
  struct Run {
    std::span<const WorldEntry> entries;
    std::size_t depth;  // bytes they have in common
  };
  std::vector<Run> runs = {{entries, 0}};
  nodes_.emplace_back();
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    auto [run, depth] = runs[node];
    if (run.front().bytes.size() == depth) {
      nodes_[node].token = run.front().id;
      run = run.subspan(1);
    }
    if (run.empty()) continue;
    const auto byte_of = [depth = depth](const WorldEntry& entry) {
      return static_cast<unsigned char>(entry.bytes[depth]);
    };
    const std::uint8_t low = byte_of(run.front());
    nodes_[node].low = low;
    nodes_[node].width = static_cast<std::uint16_t>(byte_of(run.back()) - low + 1);
    nodes_[node].children = checked_index(children_.size());
    children_.resize(children_.size() + nodes_[node].width, kRoot);
    while (!run.empty()) {
      const unsigned char byte = byte_of(run.front());
      const auto next = std::find_if(
          run.begin(), run.end(), [&](const WorldEntry& entry) { return byte_of(entry) != byte; });
      const auto n_same = static_cast<std::size_t>(next - run.begin());
      children_[nodes_[node].children + byte - low] = checked_index(nodes_.size());
      nodes_.emplace_back();
      runs.push_back({run.first(n_same), depth + 1});
      run = run.subspan(n_same);
    }
  }
}

std::uint32_t WorldTokenizer::child(std::uint32_t node, char byte) const {
  const Node& from = nodes_[node];
  const std::uint32_t place =
      static_cast<std::uint32_t>(static_cast<unsigned char>(byte)) - from.low;
  return place < from.width ? children_[from.children + place] : kRoot;
}

std::vector<base::TokenId> WorldTokenizer::encode(std::string_view text) const {
  std::vector<base::TokenId> ids;
  for (std::size_t begin = 0; begin < text.size();) {
    base::TokenId longest = kEndToken;
    std::size_t longest_end = begin;
    std::uint32_t node = kRoot;
    for (std::size_t i = begin; i < text.size(); ++i) {
      node = child(node, text[i]);
      if (node == kRoot) break;
      if (nodes_[node].token == kEndToken) continue;
      longest = nodes_[node].token;
      longest_end = i + 1;
    }
    if (longest == kEndToken) {
      base::input_error("tokenizer {}: no token covers byte 0x{:02x} at offset {} of the text",
                        name_, static_cast<unsigned char>(text[begin]), begin);
    }
    ids.push_back(longest);
    begin = longest_end;
  }
  return ids;
}

std::optional<std::string_view> WorldTokenizer::find(base::TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) + 1 >= token_begins_.size()) return std::nullopt;
  const auto i = static_cast<std::size_t>(id);
  const std::size_t size_bytes = token_begins_[i + 1] - token_begins_[i];
  if (size_bytes == 0) return std::nullopt;
  return std::string_view(token_bytes_).substr(token_begins_[i], size_bytes);
}

}  // namespace longreach::model
