#include "launch/standard_streams.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/read_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace longreach::launch {

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

std::string read_input() { return base::read_descriptor(STDIN_FILENO, "standard input"); }

}  // namespace longreach::launch
