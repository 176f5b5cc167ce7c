#include "dist/context/file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/regular_file.hpp"
#include "kernels/base/write_all.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace longreach::dist {

File::File(std::filesystem::path path, Mode mode)
    : path_(std::move(path)),
      descriptor_(
          base::open_regular_file(path_, mode == Mode::kRead ? O_RDONLY : O_RDWR | O_CREAT)) {}

void File::fail(int error) const {
  base::input_error("{}: {}", base::utf8_name(path_.string()),
                    std::error_code(error, std::generic_category()).message());
}

void File::write_at(std::size_t offset, std::span<const std::byte> bytes) const {
  if (const int error = base::write_all_at(descriptor_.number(), offset, bytes); error != 0) {
    fail(error);
  }
}

void File::read_at(std::size_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n =
        ::pread(descriptor_.number(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    if (n == 0) {
      base::input_error("{}: damaged: expected {} bytes or more, found {}",
                        base::utf8_name(path_.string()), offset + bytes.size(), size_bytes());
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::size_t>(n);
  }
}

std::size_t File::size_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_.number(), &status) != 0) fail(errno);
  return static_cast<std::size_t>(status.st_size);
}

void File::sync() const {
  if (::fdatasync(descriptor_.number()) != 0) fail(errno);
}

bool File::lock() const {
  if (::flock(descriptor_.number(), LOCK_EX | LOCK_NB) == 0) return true;
  return errno != EWOULDBLOCK;  // a file system that has no locks does without
}

}  // namespace longreach::dist
