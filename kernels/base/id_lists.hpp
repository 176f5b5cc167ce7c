/// JSON with long lists of token ids, which take 16 bytes a number as values of their own.
#pragma once

#include "kernels/base/types.hpp"

#include <nlohmann/json_fwd.hpp>

#include <span>
#include <string_view>
#include <vector>

namespace longreach::base {

/// The value that parse_json gives, but for lists in these fields of the outermost object: one that
/// holds numbers below 2^31 alone, one at least, is a binary value, which no other part can be.
/// Errors: as parse_json.
nlohmann::json parse_json_with_ids(std::string text, std::string_view name,
                                   std::span<const std::string_view> fields);

/// The numbers of such a binary value.
std::vector<TokenId> ids_of(const nlohmann::json& binary);

}  // namespace longreach::base
