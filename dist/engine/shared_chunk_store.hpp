/// Chunks of the cache where all shards of a stage can read them, when they run on one node: a
/// shard writes its own, and the others read them in place.
#pragma once

#include "dist/comm/communicator.hpp"
#include "model/cache/chunk_store.hpp"

#include <memory>

namespace longreach::dist {

/// A store in memory of all shards: each keeps its chunks in a file without a name that lives in
/// memory and goes with the last process that has it open; the others map it for reading. As all
/// shards allocate and drop chunks in the same order, each knows where every chunk lies. All chunks
/// have the same size.
/// Null where shards are not on one node, or the system does not let them read each other's memory.
/// Collective: all shards.
std::unique_ptr<model::ChunkStore> make_shared_chunk_store(Communicator& shards);

}  // namespace longreach::dist
