/// Text to token ids and back. Used by dist users (launch, eval); knows nothing of the model's
/// weights.
#pragma once

#include "kernels/base/types.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// Ends a text in both kinds of vocabulary; it stands for no bytes.
inline constexpr base::TokenId kEndToken = 0;

/// The name of the vocabulary that needs no file.
inline constexpr std::string_view kBytesTokenizer = "bytes";

/// A vocabulary. Const methods are safe to call from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The tokens of any byte string.
  /// Errors: InputError naming byte and offset, where the vocabulary has no token for a byte.
  virtual std::vector<base::TokenId> encode(std::string_view text) const = 0;

  /// The bytes of an entry of the vocabulary, never empty; nothing for the end token and for ids
  /// without an entry.
  virtual std::optional<std::string_view> find(base::TokenId id) const = 0;

  /// What was opened: "bytes" or the vocabulary file, for messages.
  virtual std::string_view name() const = 0;

  /// The bytes of one token; empty for the end token.
  /// Errors: InputError for an id that has no entry.
  std::string_view bytes(base::TokenId id) const;

  /// The concatenated bytes; may end inside a UTF-8 character. Errors: as bytes().
  std::string decode(std::span<const base::TokenId> ids) const;
};

/// Ids below vocab_size that stand for no text and end none: nobody could read on after one.
std::vector<base::TokenId> ids_without_text(const Tokenizer& tokenizer, std::size_t vocab_size,
                                            base::TokenId end_token);

/// "bytes" gives the byte tokenizer: a token is a byte's value, and the byte 0 is the end token, so
/// that decode() drops it. Any other name is the path of a World vocabulary file
/// (world_tokenizer.hpp). Errors: InputError for a file that does not exist or is no vocabulary.
std::unique_ptr<Tokenizer> open_tokenizer(std::string_view name_or_path);

}  // namespace longreach::model
