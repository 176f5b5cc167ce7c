/// The passages that an answer looked at, for people and as lines of JSON.
#pragma once

#include "generation/passages.hpp"
#include "kernels/base/types.hpp"
#include "launch/open_model.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

/// Errors: InputError naming the option, for a model without sparse blocks.
void require_sparse_blocks(std::string_view option, const OpenedModel& opened);

/// A line for each passage, heaviest first: its positions, its share of attention in percent, and
/// its text, cut short, as a JSON string. `tokens` are those of the context, from its first one.
std::string evidence_text(std::span<const generation::Passage> passages,
                          std::span<const base::TokenId> tokens, const model::Tokenizer& tokenizer);

/// The same as JSON objects {"first", "tokens", "weight", "text"}, with the whole text; bytes that
/// are no UTF-8 become U+FFFD.
std::string evidence_lines(std::span<const generation::Passage> passages,
                           std::span<const base::TokenId> tokens,
                           const model::Tokenizer& tokenizer);

}  // namespace longreach::launch
