#include "launch/token_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "launch/npy.hpp"
#include "launch/options/parse_number.hpp"

#include <nlohmann/json.hpp>

#include <limits>

namespace longreach::launch {
namespace {

using base::TokenId;

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlanks = " \t\r\n\f\v";
constexpr std::string_view kSeparators = " \t\r\n\f\v,";

/// Any integer type's value as TokenId.
template <typename Integer>
TokenId checked_id(Integer id, std::size_t index, const std::string& name) {
  if (id < Integer{0} || static_cast<std::uint64_t>(id) > std::numeric_limits<TokenId>::max()) {
    base::input_error("{}: token {}: id {} is not a token id", name, index, id);
  }
  return static_cast<TokenId>(id);
}

std::vector<TokenId> parse_list(std::string_view text, const std::string& name) {
  const nlohmann::json list = base::parse_json(std::string(text), name);
  std::vector<TokenId> tokens;
  tokens.reserve(list.size());
  for (const auto& item : list) {
    const auto id = base::whole_number(item);
    if (!id) {
      base::input_error("{}: token {}: expected a token id, found {}", name, tokens.size(),
                        base::json_text(item));
    }
    tokens.push_back(checked_id(*id, tokens.size(), name));
  }
  return tokens;
}

std::vector<TokenId> parse_text(std::string_view text, const std::string& name) {
  std::vector<TokenId> tokens;
  std::size_t begin = text.find_first_not_of(kSeparators);
  while (begin != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    const auto id = parse_number<std::int64_t>(word);
    if (!id) {
      base::input_error("{}: token {}: expected an integer, found \"{}\"", name, tokens.size(),
                        word.substr(0, 40));
    }
    tokens.push_back(checked_id(*id, tokens.size(), name));
    begin = text.find_first_not_of(kSeparators, end);
  }
  return tokens;
}

std::vector<TokenId> parse_npy(std::string_view bytes, const std::string& name) {
  const NpyIntegers array = read_npy_integers(bytes, name);
  const bool one_row = array.shape.size() == 2 && array.shape[0] == 1;
  if (array.shape.size() != 1 && !one_row) {
    base::input_error("{}: expected an array of shape (T,) or (1, T), found {} dimensions{}", name,
                      array.shape.size(),
                      array.shape.size() == 2 ? fmt::format(" with {} rows", array.shape[0]) : "");
  }
  std::vector<TokenId> tokens;
  tokens.reserve(array.values.size());
  for (const std::int64_t id : array.values) tokens.push_back(checked_id(id, tokens.size(), name));
  return tokens;
}

}  // namespace

std::vector<TokenId> parse_tokens(std::string_view bytes, const std::string& name) {
  if (bytes.starts_with(kNpyMagic)) return parse_npy(bytes, name);
  if (bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
  const std::size_t begin = std::min(bytes.find_first_not_of(kBlanks), bytes.size());
  return bytes.substr(begin).starts_with('[') ? parse_list(bytes, name) : parse_text(bytes, name);
}

void check_vocabulary(std::span<const TokenId> tokens, std::size_t vocab_size,
                      const std::string& source) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<std::size_t>(tokens[i]) >= vocab_size) {
      base::input_error("{}: token {}: id {} is outside the vocabulary of {} tokens", source, i,
                        tokens[i], vocab_size);
    }
  }
}

}  // namespace longreach::launch
