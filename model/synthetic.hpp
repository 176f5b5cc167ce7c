/// States of sequences that nobody has read, for measuring what comes after a long text.
#pragma once

#include "kernels/threads/parallel.hpp"
#include "model/forward.hpp"
#include "model/state.hpp"
#include "model/weights.hpp"

#include <cstddef>
#include <cstdint>

namespace longreach::model {

/// Brings the state to where n_tokens more tokens could have left it: random keys and values are
/// appended to the caches, and the other states become random numbers. A number depends only on the
/// seed and on its place in the whole model (block, head, row, channel), so a part (of a model with
/// n_head heads) gets what it would have if it were whole. Returns false when `progress` stopped
/// it. Errors: std::bad_alloc.
bool append_random_tokens(SequenceState& state, const Part& part, std::size_t n_head,
                          std::size_t n_tokens, std::uint64_t seed, kernels::ThreadPool& pool,
                          const Progress& progress);

}  // namespace longreach::model
