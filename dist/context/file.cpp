#include "dist/context/file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"

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
      descriptor_(mode == Mode::kRead ? ::open(path_.c_str(), O_RDONLY | O_CLOEXEC)
                                      : ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail(errno);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::fail(int error) const {
  base::input_error("{}: {}", base::utf8_name(path_.string()),
                    std::error_code(error, std::generic_category()).message());
}

void File::write_at(std::size_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(n < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::size_t>(n);
  }
}

void File::read_at(std::size_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
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
  if (::fstat(descriptor_, &status) != 0) fail(errno);
  return static_cast<std::size_t>(status.st_size);
}

void File::sync() const {
  if (::fdatasync(descriptor_) != 0) fail(errno);
}

bool File::lock() const {
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno != EWOULDBLOCK) fail(errno);
  return false;
}

}  // namespace longreach::dist
