#include "model/checkpoint/printable.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace longreach::model {
namespace {

constexpr std::size_t kLongest = 80;

bool is_printable_byte(char byte) { return byte >= 0x20 && byte <= 0x7e; }

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  for (const char byte : text.substr(0, kLongest)) {
    if (is_printable_byte(byte)) {
      result += byte;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
  }
  if (text.size() > kLongest) result += "...";
  return result;
}

bool is_printable(std::string_view text) { return std::ranges::all_of(text, is_printable_byte); }

}  // namespace longreach::model
