/// What a converted model has lost: its logits and its loss on a text, and those of its source.
#pragma once

#include "dist/comm/world.hpp"
#include "kernels/base/types.hpp"
#include "launch/options/options.hpp"
#include "launch/signals.hpp"

#include <optional>
#include <span>
#include <string>

namespace longreach::launch {

/// Runs both models on all ranks with their own weights, then with int8 and int4 ones, and returns
/// a line for each run: the bytes of weights that a token reads, the loss (nats a token), and the
/// largest difference of a logit from the source's with its own weights, whose logits are all in
/// memory. `tokens`, two at least, are the leader's. Nothing if a signal ended it; no line on the
/// other ranks. Collective. Errors: as load_engine().
std::optional<std::string> compare_models(const ModelOptions& source, const ModelOptions& result,
                                          std::span<const base::TokenId> tokens,
                                          const StopSignals& signals, dist::World& world);

}  // namespace longreach::launch
