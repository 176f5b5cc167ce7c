/// Small files and texts, read as a whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace longreach::base {

/// More than any text a model reads; what is larger is another file than was meant.
inline constexpr std::size_t kLargestTextBytes = std::size_t{4} << 30;

/// Everything from a descriptor up to its end; `name` stands for it in messages. Errors:
/// InputError, if it cannot be read or gives more than `most_bytes`.
std::string read_descriptor(int descriptor, const std::string& name,
                            std::size_t most_bytes = kLargestTextBytes);

/// All bytes of a file, or of a pipe up to its end. Errors: InputError naming it, if it cannot be
/// read, is a folder, or has more than `most_bytes`.
std::string read_file(const std::filesystem::path& path,
                      std::size_t most_bytes = kLargestTextBytes);

/// The same of a file that the program finds by itself, and that nobody meant to be a pipe.
std::string read_regular_file(const std::filesystem::path& path,
                              std::size_t most_bytes = kLargestTextBytes);

}  // namespace longreach::base
