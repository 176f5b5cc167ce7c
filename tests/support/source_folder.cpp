#include "tests/support/source_folder.hpp"

namespace longreach::test {

std::filesystem::path source_folder() { return LONGREACH_SOURCE_FOLDER; }

}  // namespace longreach::test
