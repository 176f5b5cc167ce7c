/// Attention of queries over chunks that lie on several shards.
///
/// A head's shard merges what its queries find, chunk by chunk in ascending order. What they find
/// in a chunk is computed either where the chunk is kept, and travels as partials (ship.hpp), or
/// where the head is computed, and the chunk's keys and values travel (gather.hpp), or do not,
/// where the shards can read each other's chunks. The same partials come of it either way.
#pragma once

#include "model/context.hpp"

namespace longreach::model {

/// Attention of the step's queries over what the workspace's selection says they see.
/// Shapes: q [T, H * 64], whole rows; y [T, H * 64], of which this shard's heads are written.
/// Collective: all shards. Source: model-spec section 4.
void attend_chunks(Context& context, base::MatView<const float> q, base::MatView<float> y);

}  // namespace longreach::model
