/// Small files that are written at once.
#pragma once

#include <filesystem>
#include <string_view>

namespace longreach::launch {

/// Writes a whole file, which gets its name when it is complete; one that was there is replaced.
/// Errors: InputError naming it; also if it is there and not a regular file.
void write_file(const std::filesystem::path& path, std::string_view bytes);

}  // namespace longreach::launch
