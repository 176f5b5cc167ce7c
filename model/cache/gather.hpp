/// Distributed attention to whose heads the chunks come: keys and values travel, or are read in
/// place where the shards reach each other's memory.
#pragma once

#include "model/cache/chunk_attention.hpp"

namespace longreach::model {

/// Collective: all shards.
void gather(ChunkAttention& attention);

/// Whether fewer bytes travel, between all shards, when chunks come to the heads than when partials
/// do. The same on all shards.
bool gathering_moves_less(const ChunkAttention& attention);

}  // namespace longreach::model
