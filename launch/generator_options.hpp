/// How many requests run at once, and what memory that takes.
#pragma once

#include "generation/generator.hpp"
#include "partition/sequence_room.hpp"

#include <cstddef>
#include <optional>

namespace longreach::launch {

/// More sequences at once hardly gain anything on a CPU, and each takes memory.
inline constexpr std::size_t kMostParallel = 32;

/// For requests of at most so many tokens, in what room a plan leaves. At most `n_parallel` at
/// once, by default as many of the longest as fit, up to kMostParallel; one always. Steps last as
/// long as they may: all that counts is when the last request is done.
generation::GeneratorOptions generator_options(const partition::SequenceRoom& room,
                                               std::size_t longest_tokens,
                                               std::optional<std::size_t> n_parallel);

}  // namespace longreach::launch
