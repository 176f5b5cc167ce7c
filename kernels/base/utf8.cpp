#include "kernels/base/utf8.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>

namespace longreach::base {
namespace {

/// Which bytes may follow a lead byte: how many, and the range of the first of them. The others are
/// always 0x80..0xbf; the narrower first ranges are what excludes overlong forms, surrogates and >
/// U+10FFFF.
struct Lead {
  std::size_t n_following;
  unsigned char low;
  unsigned char high;
};

/// n_following is 0 for bytes that begin no longer character.
Lead lead_of(unsigned char byte) {
  if (byte >= 0xc2 && byte <= 0xdf) return {1, 0x80, 0xbf};
  if (byte == 0xe0) return {2, 0xa0, 0xbf};
  if (byte == 0xed) return {2, 0x80, 0x9f};
  if (byte >= 0xe1 && byte <= 0xef) return {2, 0x80, 0xbf};
  if (byte == 0xf0) return {3, 0x90, 0xbf};
  if (byte >= 0xf1 && byte <= 0xf3) return {3, 0x80, 0xbf};
  if (byte == 0xf4) return {3, 0x80, 0x8f};
  return {0, 0, 0};
}

}  // namespace

Utf8Front utf8_front(std::string_view bytes) {
  LR_DCHECK(!bytes.empty());
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (byte_at(0) < 0x80) return {Utf8Kind::kCharacter, 1};
  const Lead lead = lead_of(byte_at(0));
  if (lead.n_following == 0) return {Utf8Kind::kInvalid, 1};
  const std::size_t n_present = std::min(lead.n_following, bytes.size() - 1);
  for (std::size_t i = 1; i <= n_present; ++i) {
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xbf;
    if (byte_at(i) < low || byte_at(i) > high) return {Utf8Kind::kInvalid, i};
  }
  if (n_present < lead.n_following) return {Utf8Kind::kIncomplete, bytes.size()};
  return {Utf8Kind::kCharacter, 1 + lead.n_following};
}

void append_utf8(std::string& text, char32_t code_point) {
  LR_DCHECK(code_point <= kMaxCodePoint && !is_surrogate(code_point));
  const auto continuation = [&](int shift) {
    return static_cast<char>(0x80U | ((code_point >> shift) & 0x3fU));
  };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xc0U | (code_point >> 6));
    text += continuation(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xe0U | (code_point >> 12));
    text += continuation(6);
    text += continuation(0);
  } else {
    text += static_cast<char>(0xf0U | (code_point >> 18));
    text += continuation(12);
    text += continuation(6);
    text += continuation(0);
  }
}

}  // namespace longreach::base
