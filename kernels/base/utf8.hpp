/// UTF-8 one character at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longreach::base {

/// What stands at the front of a byte string.
enum class Utf8Kind {
  kCharacter,   ///< A whole character.
  kIncomplete,  ///< The beginning of a character; more bytes may complete it.
  kInvalid,     ///< Bytes that no continuation can make a character.
};

/// The front of a byte string and how many bytes it takes, at least 1. For kInvalid these are the
/// longest beginning of a character, or a single byte: what one U+FFFD replaces ("maximal subpart"
/// rule of the Unicode standard, section 3.9).
struct Utf8Front {
  Utf8Kind kind;
  std::size_t size_bytes;
};

/// Looks at the front of `bytes`, which must not be empty. Overlong forms, surrogates and anything
/// above U+10FFFF are invalid.
Utf8Front utf8_front(std::string_view bytes);

/// Appends the UTF-8 form of a code point that is at most U+10FFFF and no surrogate.
void append_utf8(std::string& text, char32_t code_point);

/// Whether a code point is half of a surrogate pair, which UTF-8 cannot hold.
constexpr bool is_surrogate(char32_t code_point) {
  return code_point >= 0xd800 && code_point <= 0xdfff;
}

/// The largest code point.
inline constexpr char32_t kMaxCodePoint = 0x10ffff;

}  // namespace longreach::base
