/// Logarithms of probabilities from a row of logits.
#pragma once

#include "generation/request.hpp"

#include <cstddef>
#include <span>

namespace longreach::generation {

/// log softmax(logits)[token] in nats, and of the n_top largest. logits: (vocabulary). In double;
/// not finite where the logits are no numbers.
Logprobs logprobs_of(std::span<const float> logits, base::TokenId token, std::size_t n_top);

}  // namespace longreach::generation
