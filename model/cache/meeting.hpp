/// How queries meet the chunks they see, which lie on other shards.
///
/// A head's shard merges what its queries find, chunk by chunk in ascending order. What they find
/// in a chunk is computed either where the chunk is kept, and travels as partials (`ship`), or
/// where the head is computed, and the chunk's keys and values travel (`gather`), or do not, where
/// the shards can read each other's chunks. The same partials come of it either way.
#pragma once

#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"

namespace longreach::model {

/// Attention of the newest rows' queries over what the workspace's selection says they see.
/// Shapes: q [T, H * 64], whole rows; y [T, H * 64], of which the own heads' columns are written.
/// Collective: all shards. Source: model-spec section 4.
void meet_chunks(Context& context, const KvCache& cache, base::MatView<const float> q,
                 base::MatView<float> y);

}  // namespace longreach::model
