#include "launch/picture.hpp"

#include "kernels/base/error.hpp"
#include "launch/output_file.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

namespace longreach::launch {
namespace {

/// Runs rsvg-convert without its standard streams; whether it succeeded.
bool convert(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "rsvg-convert");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_RDWR, 0);
  }
  pid_t child = 0;
  const int error =
      ::posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), ::environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return false;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

void require_png_tool() {
  if (!convert({"--version"})) {
    base::input_error(
        "--png: needs the tool rsvg-convert (package librsvg2-bin), which is not there; --svg "
        "needs nothing");
  }
}

void write_png(const std::filesystem::path& path, std::string_view svg) {
  std::filesystem::path source = path;
  source += ".svg.tmp";
  write_file(source, svg);
  // An absolute path never looks like an option.
  const bool done =
      convert({"--format=png", "--zoom=2", "--output", std::filesystem::absolute(path).string(),
               std::filesystem::absolute(source).string()});
  std::filesystem::remove(source);
  if (!done) base::input_error("{}: cannot be written by rsvg-convert", path.string());
}

}  // namespace longreach::launch
