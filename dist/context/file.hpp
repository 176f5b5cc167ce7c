/// A file of a context: bytes at offsets.
#pragma once

#include "kernels/base/descriptor.hpp"

#include <cstddef>
#include <filesystem>
#include <span>

namespace longreach::dist {

/// An open file. Move-only. Errors of all calls: InputError naming the file.
class File {
 public:
  enum class Mode { kRead, kWrite };

  /// To write, the file is made if it is not there; what it holds stays.
  File(std::filesystem::path path, Mode mode);

  void write_at(std::size_t offset, std::span<const std::byte> bytes) const;
  /// Fills `bytes`. A file that ends before is an error.
  void read_at(std::size_t offset, std::span<std::byte> bytes) const;
  std::size_t size_bytes() const;
  /// Returns when what was written is on the disk.
  void sync() const;
  /// Keeps other processes from locking the file until this is gone, where the file system has
  /// locks; false if one has done so.
  bool lock() const;

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_;
  base::Descriptor descriptor_;
};

}  // namespace longreach::dist
