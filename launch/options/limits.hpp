/// Bounds of options that others than the command line know.
#pragma once

#include <cstddef>

namespace longreach::launch {

inline constexpr double kMaxTemperature = 1000;
inline constexpr std::size_t kMostLogprobs = 100;         ///< What a result still shows.
inline constexpr std::size_t kMostComparedTokens = 1024;  ///< Whose logits are all in memory.

}  // namespace longreach::launch
