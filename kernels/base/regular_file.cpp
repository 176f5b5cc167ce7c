#include "kernels/base/regular_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace longreach::base {

Descriptor open_regular_file(const std::filesystem::path& path, int flags) {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666));
  struct stat status {};
  const bool is_examined = file.is_open() && ::fstat(file.number(), &status) == 0;
  const int error = errno;
  const std::string name = utf8_name(path.string());
  if (!is_examined) input_error("{}: cannot be opened: {}", name, std::strerror(error));
  if (S_ISDIR(status.st_mode)) input_error("{}: expected a file, found a folder", name);
  if (!S_ISREG(status.st_mode)) input_error("{}: expected a regular file", name);
  return file;
}

}  // namespace longreach::base
