#include "launch/state_folder.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

namespace longreach::launch {

std::map<std::string, std::filesystem::path> states_in(const std::filesystem::path& folder) {
  constexpr std::array<std::string_view, 4> kEndings{".pth", ".st", ".safetensors", ".state"};
  std::map<std::string, std::filesystem::path> states;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::filesystem::path& file = entry->path();
    if (std::ranges::count(kEndings, file.extension().string()) == 0) continue;
    const auto [there, is_new] = states.emplace(file.stem().string(), file);
    if (is_new) continue;
    base::input_error("--states {}: {} and {} have one name without their endings",
                      base::utf8_name(folder.string()),
                      base::utf8_name(there->second.filename().string()),
                      base::utf8_name(file.filename().string()));
  }
  const std::string name = base::utf8_name(folder.string());
  if (error) base::input_error("--states {}: {}", name, error.message());
  if (states.empty()) {
    base::input_error("--states {}: holds no .pth, .st, .safetensors or .state file", name);
  }
  return states;
}

}  // namespace longreach::launch
