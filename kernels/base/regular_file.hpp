/// Files that hold what was written to them: no folders, pipes, sockets or devices.
#pragma once

#include "kernels/base/descriptor.hpp"

#include <filesystem>

namespace longreach::base {

/// Opens one with these flags of open(2); one that is made may be read and written by all. Waits
/// for nobody, as opening a named pipe would. Errors: InputError naming the file.
Descriptor open_regular_file(const std::filesystem::path& path, int flags);

}  // namespace longreach::base
