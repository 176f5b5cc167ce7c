/// What a run takes, for plans: bytes of weights, states, caches and buffers, and multiply-adds,
/// from the tables that say what these are (model/schema/tensors.hpp, model/state.hpp,
/// model/context.hpp).
#pragma once

#include "kernels/base/types.hpp"
#include "model/schema/config.hpp"
#include "partition/memory.hpp"

#include <cstddef>

namespace longreach::model {

/// The sizes of a run on a sequence of `context_tokens`, whose longest call has `call_tokens`.
partition::RunSizes run_sizes(const ModelConfig& config, const AttentionConfig& attention,
                              base::WeightFormat weights, std::size_t context_tokens,
                              std::size_t call_tokens, std::size_t n_threads);

}  // namespace longreach::model
