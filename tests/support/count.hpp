/// How often a text stands in another.
#pragma once

#include <cstddef>
#include <string>

namespace longreach::test {

inline std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

}  // namespace longreach::test
