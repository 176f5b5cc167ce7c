/// How many files and connections the system lets this process have.
#pragma once

#include <cstddef>

namespace longreach::launch {

/// As many connections as the system lets this process have at once, beside files and ranks, at
/// most `most`; asks it for as many as it may.
std::size_t max_connections(std::size_t most);

}  // namespace longreach::launch
