/// A file mapped read-only into memory. Used by model/checkpoint/checkpoint; knows nothing of its
/// contents.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace longreach::model {

/// How a file is going to be read, which decides how far ahead the system reads.
enum class Access {
  kScattered,  ///< A few bytes here and there: nothing beside the touched pages is wanted.
  kInOrder,    ///< Longer runs.
};

/// Owns the mapping of one regular file. Move-only; moving it does not change the mapped address.
/// If the file is shortened, or its disk fails, while it is mapped, the program ends where it
/// touches what is gone: with a sentence that names the file, and exit code 2.
class MappedFile {
 public:
  /// Maps the whole file; its pages are read when they are touched.
  /// Errors: InputError if the file is absent, may not be read, is empty or is no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// The file's contents.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Tells the system how the file is read from now on; a new mapping is read kInOrder.
  void expect(Access access) const;
  /// Tells the system that this process needs none of the pages in memory now; they stay readable.
  void release_pages() const;

 private:
  std::span<const std::byte> bytes_;  ///< Empty only after a move.
};

}  // namespace longreach::model
