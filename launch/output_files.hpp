/// What the outputs of a run may be, beside each other and beside what it reads.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longreach::launch {

/// The files that a command's options name.
class NamedFiles {
 public:
  /// A file that is read; one that is not there is not looked at.
  void add_input(std::string option, const std::filesystem::path& name);
  /// A file that is written, if the option is given.
  void add_output(std::string option, const std::optional<std::filesystem::path>& name);

  /// Before anything is computed: refuses outputs that cannot be written, that are a file the run
  /// reads, another output, or where a standard stream was sent. Links, spellings and further names
  /// of a file make no difference. Errors: InputError naming the options.
  void check_outputs() const;

 private:
  struct NamedFile {
    std::string option;
    std::filesystem::path name;
  };

  std::vector<NamedFile> inputs_, outputs_;
};

}  // namespace longreach::launch
