/// Tables for a terminal.
#pragma once

#include <string>
#include <vector>

namespace longreach::eval {

/// A line for each row: right-aligned columns, each as wide as its widest text, with gaps between.
std::string aligned(const std::vector<std::vector<std::string>>& rows);

/// "99.5" for 0.995.
std::string percent_text(double share);

}  // namespace longreach::eval
