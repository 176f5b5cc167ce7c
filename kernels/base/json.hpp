/// JSON from outside, and names of files in JSON. Everything that is parsed as JSON comes through
/// here, so that all of it is judged alike.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// The one type that the library does not declare ahead.
NLOHMANN_JSON_NAMESPACE_BEGIN
template <typename BasicJsonType>
struct json_sax;
NLOHMANN_JSON_NAMESPACE_END

namespace longreach::base {

/// Lists and objects inside one another; nothing that is read here needs ten.
inline constexpr std::size_t kDeepestJson = 64;

/// The one JSON value that `text` is; a byte order mark before it is ignored. Strings are read
/// where they lie: who moves a long text here holds it twice at most. `name` stands for it in
/// messages. Errors: InputError naming what is wrong, and at which byte: text that is no JSON (a
/// zero byte, invalid UTF-8 and a second value included), a number that a double cannot hold, lists
/// and objects deeper than kDeepestJson, an object that has a key twice.
nlohmann::json parse_json(std::string text, std::string_view name);

/// The same without building the value: `events` learn of its parts in turn, may keep what they are
/// given, and end it by throwing alone.
void parse_json(std::string text, std::string_view name,
                nlohmann::json_sax<nlohmann::json>& events);

/// The number that `value` is, if it is a whole one from 0 to 2^64 - 1 and written as such.
std::optional<std::uint64_t> whole_number(const nlohmann::json& value);

/// A value as messages quote it: valid UTF-8 on one line, cut short after some 80 bytes.
std::string json_text(const nlohmann::json& value);

/// The name of a file, or any other bytes, as text for JSON: valid UTF-8 stays as it is, every
/// other byte is written \xNN, and so is a backslash before an x (\x5c). Different bytes give
/// different texts, and \xNN for the byte NN reads each back.
std::string utf8_name(std::string_view bytes);

}  // namespace longreach::base
