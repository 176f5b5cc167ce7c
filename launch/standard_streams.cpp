#include "launch/standard_streams.hpp"

#include "kernels/base/error.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace longreach::launch {
namespace {

constexpr std::size_t kPieceBytes = 1 << 16;

/// Appends what a descriptor still gives; `name` is for messages.
std::string read_all(int descriptor, const std::string& name) {
  std::string bytes;
  for (;;) {
    const std::size_t n_before = bytes.size();
    bytes.resize(n_before + kPieceBytes);
    const ssize_t n_read = ::read(descriptor, bytes.data() + n_before, kPieceBytes);
    const int error = errno;
    bytes.resize(n_before + (n_read > 0 ? static_cast<std::size_t>(n_read) : 0));
    if (n_read == 0) return bytes;
    if (n_read < 0 && error != EINTR)
      base::input_error("{}: cannot be read: {}", name, std::strerror(error));
  }
}

}  // namespace

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

WriteResult write_output(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n_written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n_written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n_written));
    } else if (errno == EPIPE) {
      return WriteResult::kReaderGone;
    } else if (errno != EINTR) {
      base::input_error("standard output: cannot be written: {}", std::strerror(errno));
    }
  }
  return WriteResult::kWritten;
}

bool error_follows_output() {
  struct stat output {
  }, error{};
  const bool one_file = ::fstat(STDOUT_FILENO, &output) == 0 &&
                        ::fstat(STDERR_FILENO, &error) == 0 && output.st_dev == error.st_dev &&
                        output.st_ino == error.st_ino;
  return one_file || ::isatty(STDERR_FILENO) == 1;
}

std::string read_input() { return read_all(STDIN_FILENO, "standard input"); }

std::string read_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    base::input_error("{}: cannot be opened: {}", path.string(), std::strerror(errno));
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } const closer{descriptor};
  return read_all(descriptor, path.string());
}

}  // namespace longreach::launch
