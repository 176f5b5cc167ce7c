/// NumPy's .npy files: integer arrays in, float32 matrices out.
/// Format: magic, version, header length, a Python dict as text, then the numbers.
#pragma once

#include "kernels/base/output_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

/// How every .npy file begins.
inline constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// An integer array, in the file's order of elements.
struct NpyIntegers {
  std::vector<std::size_t> shape;
  std::vector<std::int64_t> values;
};

/// Reads an array of little-endian integers of any width (unsigned 64-bit values must fit the
/// signed type). `name` is the file's, for messages. Errors: InputError for anything torn or of
/// another type.
NpyIntegers read_npy_integers(std::string_view bytes, const std::string& name);

/// Writes a float32 matrix row by row, in any order of rows, into a file that gets its name when it
/// is complete.
class NpyMatrixWriter {
 public:
  /// Errors: InputError naming the file.
  NpyMatrixWriter(const std::filesystem::path& path, std::size_t n_rows, std::size_t n_columns);

  /// Requires: row < n_rows, values.size() == n_columns. Errors: InputError, for example for a full
  /// disk.
  void write_row(std::size_t row, std::span<const float> values);
  /// Gives the file its name; every row must have been written. Errors: InputError.
  void finish() { file_.finish(); }

 private:
  base::OutputFile file_;
  std::size_t n_rows_;
  std::size_t n_columns_;
  std::size_t header_bytes_;
};

}  // namespace longreach::launch
