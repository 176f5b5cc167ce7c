/// Distributed attention whose partials travel: each shard attends to its own chunks for all
/// queries, and sends what they found to the shards of their heads.
#pragma once

#include "model/cache/chunk_attention.hpp"

namespace longreach::model {

/// Collective: all shards.
void ship(ChunkAttention& attention);

}  // namespace longreach::model
