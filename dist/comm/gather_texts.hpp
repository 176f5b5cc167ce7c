/// Texts of any length from every rank to every rank: what start-up exchanges.
#pragma once

#include "dist/comm/communicator.hpp"

#include <string>
#include <vector>

namespace longreach::dist {

/// What every rank gives, in order of ranks; bytes of any value. Collective.
std::vector<std::string> gather_texts(Communicator& communicator, const std::string& own);

}  // namespace longreach::dist
