/// Files that a run makes. What an output's name stands for is decided here, for every output.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::base {

/// What two names have in common if they stand for one file, whatever links lead there.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;   ///< Of the file; of the folder where it will be made if there is none yet.
  std::string name;  ///< Its name there; empty if it exists.
  auto operator<=>(const FileIdentity&) const = default;
};

/// Of a file that exists; nothing for a name that stands for none.
std::optional<FileIdentity> identity_of(const std::filesystem::path& name);

/// One output. Links are followed to what they name, and stay. A plain file is written without
/// a name, or under another one, in its folder and gets its own when it is complete; it keeps the
/// mode, owner and further names of the one that was there. Devices, pipes, this process's
/// descriptors
/// (/dev/stdout) and files in folders that may not be written are written in place.
class OutputFile {
 public:
  /// Finds out what the name stands for; opens and changes nothing. Errors: InputError naming it,
  /// for folders and block devices, and for what may not be written as far as is known.
  explicit OutputFile(const std::filesystem::path& name);
  /// Takes away what was not finished.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Where its bytes go, behind all links.
  const std::filesystem::path& target() const { return target_; }
  const FileIdentity& identity() const { return identity_; }
  /// Whether it is, or will be, a regular file of the file system.
  bool is_plain() const { return !descriptor_to_copy_ && (!status_ || S_ISREG(status_->st_mode)); }
  /// Whether several outputs may go there without loss, as to a terminal or /dev/null.
  bool is_character_device() const { return status_ && S_ISCHR(status_->st_mode); }
  /// Whether the name is that of one of this process's descriptors.
  bool is_descriptor() const { return descriptor_to_copy_.has_value(); }

  /// Makes what is needed to write; the first write does it otherwise. Waits for the reader of a
  /// named pipe. Errors, of all calls: InputError naming the file, for example for a full disk.
  void open();
  /// Appends.
  void write(std::string_view bytes);
  /// Writes at an offset, in any order, each byte once. Where a target has no offsets, what comes
  /// before its turn is kept in memory.
  void write_at(std::size_t offset, std::span<const std::byte> bytes);
  /// Gives the file its name. Every byte up to the last one must have been written.
  void finish();

 private:
  [[noreturn]] void fail(int error) const;
  /// Follows links to what the name stands for.
  void resolve();
  /// Makes the file that stands for a plain one until it is complete; false if its folder refuses.
  bool open_aside();
  std::filesystem::path temporary_name(int n) const;
  /// Gives a file aside that has none a name beside the target.
  void give_name();
  /// Gives the complete file its name.
  void replace();
  /// Puts its content into the file that is there.
  void copy_to_target() const;
  void write_in_order(std::span<const std::byte> bytes);

  std::filesystem::path name_;
  std::filesystem::path target_;
  std::optional<int> descriptor_to_copy_;
  std::optional<struct stat> status_;  ///< Of what is there.
  FileIdentity identity_;

  int descriptor_ = -1;
  bool is_aside_ = false;            ///< Not written in place.
  std::filesystem::path temporary_;  ///< Of a file aside; empty while it has no name.
  bool keeps_file_ = false;          ///< The file that is there gets the content.
  std::size_t size_ = 0;
  std::map<std::size_t, std::vector<std::byte>> early_;  ///< By offset.
};

/// Writes a whole output. Errors: InputError naming it.
void write_file(const std::filesystem::path& name, std::string_view bytes);

}  // namespace longreach::base
