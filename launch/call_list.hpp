/// The small languages of `logits`: how tokens are split into calls, and which positions are
/// wanted.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace longreach::launch {

/// "100,1*20,5" -> the lengths of the calls: 100, twenty times 1, 5. They may be fewer than
/// n_tokens in sum. Errors: InputError naming --calls for other text, a length or count of 0, and
/// sums above n_tokens.
std::vector<std::size_t> parse_calls(std::string_view text, std::size_t n_tokens);

/// "0,5,5" -> the positions as given; they may be unsorted and repeated.
/// Errors: InputError naming --positions for other text and for positions not below n_fed.
std::vector<std::size_t> parse_positions(std::string_view text, std::size_t n_fed);

}  // namespace longreach::launch
