/// Text to token ids and back. Used by dist users (launch, eval); knows nothing of the model's
/// weights.
#pragma once

#include "kernels/base/types.hpp"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// A vocabulary. Const methods are safe to call from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Any byte string; every byte is covered.
  virtual std::vector<base::TokenId> encode(std::string_view text) const = 0;
  /// The bytes of one token; empty for the end token. Errors: InputError for an id that has no
  /// entry.
  virtual std::string_view bytes(base::TokenId id) const = 0;
  /// The concatenated bytes; may end inside a UTF-8 character.
  std::string decode(std::span<const base::TokenId> ids) const;
};

}  // namespace longreach::model
