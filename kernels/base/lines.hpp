/// Files of lines, for example of one JSON object a line.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace longreach::base {

/// "FILE line N", for messages; lines count from 1.
std::string line_name(const std::filesystem::path& path, std::size_t line);

/// Calls visit(line number from 1, text) for every line that is not blank.
void for_lines(std::string_view bytes,
               const std::function<void(std::size_t line, std::string_view text)>& visit);

}  // namespace longreach::base
