/// A file of lines that a run adds one by one, and that a later run goes on with.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace longreach::base {

/// Belongs to one run at a time. Lines are written as they come, so that nothing is lost when a run
/// is killed. Errors of all calls: InputError naming the file as it was given, for example for a
/// full disk.
class LineFile {
 public:
  /// What is there.
  struct Content {
    std::string lines;  ///< Whole ones, each with its newline.
    /// What follows them without a newline: the beginning of a line if a run was killed while it
    /// wrote it, but perhaps something else.
    std::string torn;
  };

  /// Opens the file, or makes it; links lead to it and stay. Errors: it is no regular file, it
  /// cannot be written, or another run writes it.
  explicit LineFile(const std::filesystem::path& name);
  /// A file that was made here and got no line goes.
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  /// As it was given.
  const std::filesystem::path& name() const { return name_; }

  Content read() const;

  /// Takes away what follows the first n bytes.
  void truncate(std::size_t n_bytes);

  /// Adds a line, given without its newline. After an error the file is as it was before.
  void append(std::string_view line);

  /// Returns when the file is on the disk.
  void sync();

  /// Puts the lines in ascending order of what `key` says of them (lines count from 1); blank lines
  /// go. The file is replaced as by write_file. Nothing may be appended later.
  void sort(const std::function<std::size_t(std::size_t line, std::string_view text)>& key);

 private:
  off_t n_bytes() const;
  std::string bytes() const;
  void lock() const;
  [[noreturn]] void fail(std::string_view what) const;

  std::filesystem::path name_;
  std::filesystem::path path_;  ///< What it names, through all links.
  bool is_new_ = false;
  int descriptor_ = -1;
};

}  // namespace longreach::base
