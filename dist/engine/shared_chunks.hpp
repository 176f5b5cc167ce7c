/// Chunks of the cache where all shards of a stage can read them, when they run on one node: a
/// shard writes its own, and the others read them in place.
#pragma once

#include "dist/comm/communicator.hpp"

#include <cstddef>
#include <memory>

namespace longreach::dist {

/// Memory of all shards. Each keeps its chunks in a file without a name that lives in memory and
/// goes with the last process that has it open; the others map it for reading. All shards ask for
/// the same chunks and drop them in the same order, so each knows where every chunk lies.
class SharedChunks {
 public:
  /// Nothing where shards are not on one node, or the system does not let them read each other's
  /// memory. Collective: all shards.
  static std::shared_ptr<SharedChunks> create(Communicator& shards);
  virtual ~SharedChunks() = default;

  /// Zeroed memory for a chunk that shard `owner` keeps. All chunks have the same size. Errors:
  /// std::bad_alloc.
  virtual std::shared_ptr<std::byte> new_chunk(std::size_t owner, std::size_t n_bytes) = 0;
};

}  // namespace longreach::dist
