/// Keys that a server takes, and that a client gives.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace longreach::launch {

/// The keys of a file, one a line. Errors: InputError, if it cannot be read or holds none.
std::vector<std::string> read_keys(const std::filesystem::path& file);

}  // namespace longreach::launch
