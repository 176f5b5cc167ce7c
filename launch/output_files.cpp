#include "launch/output_files.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/output_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <utility>

namespace longreach::launch {
namespace {

using base::FileIdentity;

/// Where a stream was sent, if that is a file.
std::optional<FileIdentity> file_behind(int stream) {
  struct stat status {};
  if (::fstat(stream, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino, {}};
}

}  // namespace

void NamedFiles::add_input(std::string option, const std::filesystem::path& name) {
  inputs_.push_back({std::move(option), name});
}

void NamedFiles::add_output(std::string option, const std::optional<std::filesystem::path>& name) {
  if (name) outputs_.push_back({std::move(option), *name});
}

void NamedFiles::check_outputs() const {
  std::map<FileIdentity, std::string> taken, streams;
  for (const NamedFile& input : inputs_) {
    if (const auto identity = base::identity_of(input.name)) taken.emplace(*identity, input.option);
  }
  if (const auto identity = file_behind(STDIN_FILENO)) taken.emplace(*identity, "standard input");
  for (const auto& [stream, what] :
       {std::pair(STDOUT_FILENO, "standard output"), std::pair(STDERR_FILENO, "standard error")}) {
    if (const auto identity = file_behind(stream)) streams.emplace(*identity, what);
  }
  for (const NamedFile& output : outputs_) {
    const base::OutputFile file(output.name);
    if (file.is_character_device()) continue;
    const auto [found, is_new] = taken.emplace(file.identity(), output.option);
    const auto stream = streams.find(file.identity());
    const bool is_streams = stream != streams.end() && !file.is_descriptor();
    if (is_new && !is_streams) continue;
    base::input_error("{}: {} is also {}: expected a file of its own", output.option,
                      output.name.string(), is_new ? stream->second : found->second);
  }
}

}  // namespace longreach::launch
