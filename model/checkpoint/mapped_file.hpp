/// A file mapped read-only into memory. Used by model/checkpoint/checkpoint; knows nothing of its
/// contents.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>

namespace longreach::model {

/// How a file is going to be read, which decides how far ahead the system reads.
enum class Access {
  kScattered,  ///< A few bytes here and there: nothing beside the touched pages is wanted.
  kInOrder,    ///< Longer runs.
};

/// When bytes of a mapped file are going to be read.
enum class Expected {
  kSoon,   ///< The disk begins to read them; nobody waits for it.
  kNow,    ///< They are in this process's memory when the call returns, if there is memory.
  kLater,  ///< This process's memory does without them.
};

/// Mappings begin and end at multiples of it.
inline constexpr std::size_t kPageBytes = 4096;

/// Advises the system on bytes of a file that is mapped. Changes speed and memory, no content.
void advise(std::span<const std::byte> bytes, Expected expected);

/// Owns the mapping of a regular file, or of a part of one. Move-only; moving it does not change
/// the mapped address. If the file is shortened, or its disk fails, while it is mapped, the program
/// ends where it touches what is gone: with a sentence that names the file, and exit code 2.
class MappedFile {
 public:
  /// Maps the whole file; its pages are read when they are touched.
  /// Errors: InputError if the file is absent, may not be read, is empty or is no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  /// Maps so many bytes of it from an offset on, which is a multiple of kPageBytes.
  /// Errors: also for a file that ends before.
  MappedFile(const std::filesystem::path& path, std::size_t offset, std::size_t n_bytes);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// What is mapped of the file's contents.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Tells the system how the file is read from now on; a new mapping is read kInOrder.
  void expect(Access access) const;
  /// Tells the system that this process needs none of the pages in memory now; they stay readable.
  void release_pages() const;

 private:
  /// Maps n_bytes from the offset on, or all of the file if there is no number.
  void map(const std::filesystem::path& path, std::size_t offset,
           std::optional<std::size_t> n_bytes);

  std::span<const std::byte> bytes_;  ///< Empty only after a move.
};

}  // namespace longreach::model
