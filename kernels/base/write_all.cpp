#include "kernels/base/write_all.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace longreach::base {

int write_all(int descriptor, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t n_written = ::write(descriptor, bytes.data(), bytes.size());
    if (n_written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(n_written));
    } else if (errno == EAGAIN) {
      pollfd writable{descriptor, POLLOUT, 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

int write_all_at(int descriptor, std::size_t offset, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno != EINTR) return errno;
    if (n < 0) continue;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::size_t>(n);
  }
  return 0;
}

void write_message(std::string_view text) noexcept {
  static_cast<void>(write_all(STDERR_FILENO, std::as_bytes(std::span(text))));
}

}  // namespace longreach::base
