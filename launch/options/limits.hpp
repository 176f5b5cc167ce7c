/// Bounds of options that lines of prompts have, too.
#pragma once

#include <cstddef>

namespace longreach::launch {

inline constexpr double kMaxTemperature = 1000;
inline constexpr std::size_t kMostLogprobs = 100;  ///< What a result still shows.

}  // namespace longreach::launch
