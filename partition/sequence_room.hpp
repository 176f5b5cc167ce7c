/// How much memory there is for sequences beside the model, and what each takes of it.
#pragma once

#include "partition/plan.hpp"

#include <cstddef>

namespace longreach::partition {

/// What a sequence takes.
struct SequenceBytes {
  std::size_t fixed = 0;      ///< Whatever its length: states, and a chunk that is not full.
  std::size_t per_token = 0;  ///< Of the cache.

  std::size_t of(std::size_t n_tokens) const { return fixed + n_tokens * per_token; }
};

/// Of one rank.
struct SequenceRoom {
  std::size_t bytes = 0;
  SequenceBytes each = {};
};

/// That of the plan's rank where the least sequences as long as its context fit. `sizes` are those
/// of the plan.
SequenceRoom sequence_room(const RunSizes& sizes, const Plan& plan);

}  // namespace longreach::partition
