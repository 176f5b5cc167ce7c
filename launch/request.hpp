/// From options to a request.
#pragma once

#include "generation/request.hpp"
#include "launch/options/options.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace longreach::launch {

/// Errors: InputError naming the option, for token ids outside the vocabulary.
void check_vocabulary(const ContinuationOptions& options, std::size_t vocab_size);

/// The request to continue these tokens; with that seed, whatever the options say of one. Its
/// logits are hashed.
generation::Request request_of(const ContinuationOptions& options,
                               std::vector<base::TokenId> prompt, std::uint64_t seed);

/// Puts the token of --bos, if there is one, first in a text that begins, unless it is there.
/// Errors: InputError naming the option, for one outside the vocabulary.
void begin_text(std::vector<base::TokenId>& tokens, std::optional<base::TokenId> bos,
                std::size_t vocab_size);

}  // namespace longreach::launch
