#include "launch/output_file.hpp"

#include "kernels/base/error.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace longreach::launch {

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
    base::input_error("{}: cannot be written: not a regular file", path.string());
  }
  std::filesystem::path temporary = path;
  temporary += fmt::format(".{}.tmp", ::getpid());
  errno = 0;
  std::ofstream file(temporary, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) std::filesystem::rename(temporary, path, error);
  if (!file || error) {
    const std::string reason = error ? error.message() : std::strerror(errno);
    std::filesystem::remove(temporary, error);
    base::input_error("{}: cannot be written: {}", path.string(), reason);
  }
}

}  // namespace longreach::launch
