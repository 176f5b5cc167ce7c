/// A folder of initial states, as requests name them.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace longreach::launch {

/// The .pth, .st, .safetensors and .state files of a folder by their names without these endings.
/// Errors: InputError naming the folder, or two files of one name.
std::map<std::string, std::filesystem::path> states_in(const std::filesystem::path& folder);

}  // namespace longreach::launch
