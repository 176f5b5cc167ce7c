/// Token ids from files: .npy, a JSON list, or text separated by commas or blanks.
#pragma once

#include "kernels/base/types.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

/// The ids in `bytes`, the content of a file called `name`; the content decides the form. A
/// .npy array may be of any little-endian integer type and of shape (T,) or (1, T). Errors:
/// InputError naming the file, and for an id below 0 or beyond TokenId its index.
std::vector<base::TokenId> parse_tokens(std::string_view bytes, const std::string& name);

/// Errors: InputError naming `source`, index and id of the first id that is not below vocab_size.
void check_vocabulary(std::span<const base::TokenId> tokens, std::size_t vocab_size,
                      const std::string& source);

}  // namespace longreach::launch
