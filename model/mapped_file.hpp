/// A file mapped read-only into memory. Used by model/checkpoint; knows nothing about what is
/// inside.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace longreach::model {

/// Owns the mapping of one regular file. Move-only; the mapped address stays the same when it is
/// moved. The file must not be shortened while it is mapped: the system then ends the program
/// (SIGBUS).
class MappedFile {
 public:
  /// Maps the whole file; its pages are read when they are touched.
  /// Errors: InputError if the file does not exist, may not be read, is empty or is not a regular
  /// file.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// The file's contents.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Tells the system that this process needs none of the pages in memory now; they stay readable.
  void release_pages() const;

 private:
  std::span<const std::byte> bytes_;  ///< Empty only after a move.
};

}  // namespace longreach::model
