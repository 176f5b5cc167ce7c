#include "launch/standard_streams.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/write_all.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>

namespace longreach::launch {

void prepare_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  // The lowest free place is taken; such a descriptor can neither be read nor written, and the root
  // is there where /dev/null may not be.
  int last = STDIN_FILENO;
  while (last >= 0 && last <= STDERR_FILENO) last = ::open("/", O_PATH);
  if (last >= 0) ::close(last);
}

WriteResult write_output(std::string_view bytes) {
  const int error = base::write_all(STDOUT_FILENO, std::as_bytes(std::span(bytes)));
  if (error == EPIPE) return WriteResult::kReaderGone;
  if (error != 0) base::input_error("standard output: cannot be written: {}", std::strerror(error));
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
