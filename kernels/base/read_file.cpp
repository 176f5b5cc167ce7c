#include "kernels/base/read_file.hpp"

#include "kernels/base/descriptor.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace longreach::base {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 16;

[[noreturn]] void fail(const std::string& name, int error) {
  input_error("{}: cannot be read: {}", name, std::strerror(error));
}

}  // namespace

std::string read_descriptor(int descriptor, const std::string& name, std::size_t most_bytes) {
  std::string bytes;
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail(name, errno);
  if (S_ISDIR(status.st_mode)) fail(name, EISDIR);
  std::size_t size_bytes = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) : 0;
  if (size_bytes <= most_bytes) bytes.reserve(size_bytes + kPieceBytes);
  for (; size_bytes <= most_bytes; size_bytes = bytes.size()) {
    const std::size_t n_before = bytes.size();
    bytes.resize(n_before + kPieceBytes);
    const ssize_t n_read = ::read(descriptor, bytes.data() + n_before, kPieceBytes);
    const int error = errno;
    bytes.resize(n_before + (n_read > 0 ? static_cast<std::size_t>(n_read) : 0));
    if (n_read == 0) return bytes;
    if (n_read < 0 && error != EINTR) fail(name, error);
  }
  input_error("{}: cannot be read: it has more than {} bytes", name, most_bytes);
}

std::string read_file(const std::filesystem::path& path, std::size_t most_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) fail(path.string(), errno);
  return read_descriptor(file.number(), path.string(), most_bytes);
}

std::string read_regular_file(const std::filesystem::path& path, std::size_t most_bytes) {
  return read_descriptor(open_regular_file(path, O_RDONLY).number(), path.string(), most_bytes);
}

}  // namespace longreach::base
