/// Strict reading of numbers from text, for options and files.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace longreach::launch {

/// The number that is the whole of `text`, in decimal; nothing for anything else: other characters,
/// a sign where Number has none, a value that does not fit.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace longreach::launch
