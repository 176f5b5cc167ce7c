/// Mode `reference`: the released Python package's results, its quirks included. There a call is a
/// unit: what its queries see, and what is evicted before it, depends on all its tokens. So a call
/// runs as a whole, alone, and on one rank.
#pragma once

#include "model/context.hpp"
#include "model/forward.hpp"
#include "model/state.hpp"

#include <cstddef>

namespace longreach::model::reference {

/// Runs a call through all blocks. Shapes: x, v_first [T, C] as run_blocks takes them, any T >= 1.
/// `position` is that of the first token; `state` moves on by T tokens. Returns false when
/// `progress` stopped it; x and state are then of no further use. Requires: a stage of one shard
/// with all blocks. Source: model-spec section 4.3.
bool run_call(Context& context, std::size_t position, base::MatView<float> x,
              base::MatView<float> v_first, SequenceState& state, const Progress& progress);

}  // namespace longreach::model::reference
