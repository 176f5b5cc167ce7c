/// SVG to PNG, by a tool of the system.
#pragma once

#include <filesystem>
#include <string_view>

namespace longreach::launch {

/// Errors: InputError, if the tool rsvg-convert is not there.
void require_png_tool();

/// Writes the picture as PNG. Errors: InputError naming the file.
void write_png(const std::filesystem::path& path, std::string_view svg);

}  // namespace longreach::launch
