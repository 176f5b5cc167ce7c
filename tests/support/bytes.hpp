/// Bytes for tests, kept in strings because those are easy to build and to cut.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace longreach::test {

/// `text` as the readers take it; it must live as long as what they return.
inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// The bytes of a number, little-endian.
template <std::integral Number>
std::string little_endian(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

/// `text` with one bit inverted.
inline std::string with_flipped_bit(std::string text, std::size_t bit) {
  text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  return text;
}

/// `text` with `replacement` written over what starts at `at`.
inline std::string with_bytes_at(std::string text, std::size_t at, std::string_view replacement) {
  return text.replace(at, replacement.size(), replacement);
}

}  // namespace longreach::test
