#include "launch/generator_options.hpp"

#include <algorithm>

namespace longreach::launch {

generation::GeneratorOptions generator_options(const partition::SequenceRoom& room,
                                               std::size_t longest_tokens,
                                               std::optional<std::size_t> n_parallel) {
  generation::GeneratorOptions options;
  const std::size_t longest = std::max<std::size_t>(room.each.of(longest_tokens), 1);
  // What the plan has found to fit does, whatever its rounding.
  options.memory_bytes = std::max(room.bytes, longest);
  options.sequence_bytes = room.each;
  options.max_running =
      n_parallel.value_or(std::clamp<std::size_t>(room.bytes / longest, 1, kMostParallel));
  options.keeps_prefixes = true;
  options.step_seconds = generation::kNoLimit;
  return options;
}

}  // namespace longreach::launch
