/// Where the project's files lie that tests read.
#pragma once

#include <filesystem>

namespace longreach::test {

/// The top of the source tree that these tests were built from.
std::filesystem::path source_folder();

}  // namespace longreach::test
