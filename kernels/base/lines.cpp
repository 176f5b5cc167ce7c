#include "kernels/base/lines.hpp"

#include <fmt/format.h>

namespace longreach::base {

namespace {

constexpr std::string_view kBlanks = " \t\n\v\f\r";

}  // namespace

std::string line_name(const std::filesystem::path& path, std::size_t line) {
  return fmt::format("{} line {}", path.string(), line);
}

void for_lines(std::string_view bytes,
               const std::function<void(std::size_t line, std::string_view text)>& visit) {
  for (std::size_t line = 1; !bytes.empty(); ++line) {
    const std::size_t end = bytes.find('\n');
    const std::string_view text = bytes.substr(0, end);
    if (text.find_first_not_of(kBlanks) != std::string_view::npos) visit(line, text);
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  }
}

}  // namespace longreach::base
