#include "launch/picture.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/standard_streams.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longreach::launch {
namespace {

/// A file without a name, in memory.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("picture", MFD_CLOEXEC)) {
    if (descriptor_ < 0) base::input_error("--png: no file in memory: {}", std::strerror(errno));
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }
  void to_begin() const { ::lseek(descriptor_, 0, SEEK_SET); }

 private:
  int descriptor_;
};

/// Runs rsvg-convert on a picture. Returns what it made, or nothing if it failed.
std::optional<std::string> convert(std::vector<std::string> arguments, std::string_view svg) {
  const MemoryFile input, output;
  if (base::write_all(input.descriptor(), std::as_bytes(std::span(svg))) != 0) return std::nullopt;
  input.to_begin();
  arguments.insert(arguments.begin(), "rsvg-convert");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_RDWR, 0);
  pid_t child = 0;
  const int error =
      ::posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), ::environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return std::nullopt;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  output.to_begin();
  return base::read_descriptor(output.descriptor(), "--png");
}

}  // namespace

void require_png_tool() {
  if (!convert({"--version"}, {})) {
    base::input_error(
        "--png: needs the tool rsvg-convert (package librsvg2-bin), which is not there; --svg "
        "needs nothing");
  }
}

void write_png(const std::filesystem::path& path, std::string_view svg) {
  const auto picture = convert({"--format=png", "--zoom=2"}, svg);
  if (!picture) base::input_error("{}: cannot be made by rsvg-convert", path.string());
  base::write_file(path, *picture);
}

}  // namespace longreach::launch
