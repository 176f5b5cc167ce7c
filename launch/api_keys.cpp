#include "launch/api_keys.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/read_file.hpp"

#include <cstddef>
#include <string_view>

namespace longreach::launch {
namespace {

constexpr std::size_t kMostKeyBytes = std::size_t{1} << 20;

}  // namespace

std::vector<std::string> read_keys(const std::filesystem::path& file) {
  std::vector<std::string> keys;
  base::for_lines(base::read_file(file, kMostKeyBytes), [&](std::size_t, std::string_view line) {
    if (!line.empty()) keys.emplace_back(line);
  });
  if (keys.empty()) base::input_error("--api-key-file: {} holds no key", file.string());
  return keys;
}

}  // namespace longreach::launch
