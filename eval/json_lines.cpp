#include "eval/json_lines.hpp"

#include "eval/scoring.hpp"
#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace longreach::eval {

std::string read_whole_file(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    base::input_error("{}: cannot be read: it is a folder", path.string());
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  if (file) bytes.assign(std::istreambuf_iterator<char>(file), {});
  if (!file) base::input_error("{}: cannot be read: {}", path.string(), std::strerror(errno));
  return bytes;
}

std::string line_name(const std::filesystem::path& path, std::size_t line) {
  return fmt::format("{} line {}", path.string(), line);
}

void for_lines(std::string_view bytes,
               const std::function<void(std::size_t line, std::string_view text)>& visit) {
  for (std::size_t line = 1; !bytes.empty(); ++line) {
    const std::size_t end = bytes.find('\n');
    const std::string_view text = bytes.substr(0, end);
    if (!stripped(text).empty()) visit(line, text);
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  }
}

}  // namespace longreach::eval
