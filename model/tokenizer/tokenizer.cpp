#include "model/tokenizer/tokenizer.hpp"

#include "kernels/base/error.hpp"
#include "model/tokenizer/world_tokenizer.hpp"

#include <array>
#include <filesystem>

namespace longreach::model {
namespace {

constexpr std::array<char, 256> kAllBytes = [] {
  std::array<char, 256> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}();

class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<base::TokenId> encode(std::string_view text) const override {
    std::vector<base::TokenId> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  std::optional<std::string_view> find(base::TokenId id) const override {
    if (id <= kEndToken || id > 255) return std::nullopt;
    return std::string_view(&kAllBytes[static_cast<std::size_t>(id)], 1);
  }

  std::string_view name() const override { return kBytesTokenizer; }
};

}  // namespace

std::string_view Tokenizer::bytes(base::TokenId id) const {
  if (id == kEndToken) return {};
  const auto found = find(id);
  if (!found) base::input_error("tokenizer {}: token id {} is not in the vocabulary", name(), id);
  return *found;
}

std::string Tokenizer::decode(std::span<const base::TokenId> ids) const {
  std::string text;
  for (const base::TokenId id : ids) text += bytes(id);
  return text;
}

std::vector<base::TokenId> ids_without_text(const Tokenizer& tokenizer, std::size_t vocab_size,
                                            base::TokenId end_token) {
  std::vector<base::TokenId> ids;
  for (base::TokenId id = 0; static_cast<std::size_t>(id) < vocab_size; ++id) {
    if (id != end_token && !tokenizer.find(id)) ids.push_back(id);
  }
  return ids;
}

std::unique_ptr<Tokenizer> open_tokenizer(std::string_view name_or_path) {
  if (name_or_path == kBytesTokenizer) return std::make_unique<ByteTokenizer>();
  const std::filesystem::path path(name_or_path);
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    base::input_error("tokenizer '{}': expected \"bytes\" or a vocabulary file, found no such file",
                      name_or_path);
  }
  return std::make_unique<WorldTokenizer>(WorldTokenizer::load(path));
}

}  // namespace longreach::model
