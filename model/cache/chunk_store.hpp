/// Where the memory of a cache's chunks comes from.
#pragma once

#include "model/cache/mapped_chunk.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace longreach::model {

/// A chunk's memory: all heads of it, keys and values.
struct Chunk {
  /// From now on its memory is what a file has of it, the same bytes; empty if `mapped` is null.
  void move_to(std::shared_ptr<MappedChunk> mapped);

  std::shared_ptr<std::byte> memory;  ///< Empty where this shard cannot read it.
  std::uint64_t id = 0;  ///< The same on all shards; caches share a chunk if it has the same id.
  std::shared_ptr<MappedChunk> file = {};  ///< If the memory is that of a file.
};

/// All shards of a stage allocate the same chunks in the same order, and drop them likewise, but
/// need not wait for each other. Not thread-safe.
class ChunkStore {
 public:
  ChunkStore() = default;
  ChunkStore(const ChunkStore&) = delete;
  ChunkStore& operator=(const ChunkStore&) = delete;
  virtual ~ChunkStore() = default;

  /// Zeroed memory for a chunk that shard `owner` keeps and alone writes. Errors: std::bad_alloc.
  Chunk allocate(std::size_t owner, std::size_t n_bytes) {
    return {memory_for(owner, n_bytes), next_id_++, nullptr};
  }
  /// A chunk that is final, and lies in a file; null where this shard cannot read it. Counts as an
  /// allocation.
  Chunk adopt(std::shared_ptr<MappedChunk> file) {
    Chunk chunk{nullptr, next_id_++};
    chunk.move_to(std::move(file));
    return chunk;
  }
  /// Called once a chunk's owner has written its last row: it never changes from now on.
  virtual void publish(const Chunk& /*chunk*/) {}

  /// What is held in memory of chunks that lie in files. Set before the first one is adopted.
  MappedHeads& mapped_heads() { return mapped_heads_; }
  void limit_mapped_heads(std::size_t n_bytes) { mapped_heads_ = MappedHeads(n_bytes); }

  /// Whether this shard, and so every other, can read the chunks of all.
  virtual bool reaches_all() const = 0;

 protected:
  /// Empty if the chunk cannot be read here.
  virtual std::shared_ptr<std::byte> memory_for(std::size_t owner, std::size_t n_bytes) = 0;

 private:
  std::uint64_t next_id_ = 0;
  MappedHeads mapped_heads_;
};

/// Memory of this process, for the chunks of one shard alone.
class PrivateChunkStore final : public ChunkStore {
 public:
  PrivateChunkStore(std::size_t shard, std::size_t n_shards) : shard_(shard), n_shards_(n_shards) {}
  bool reaches_all() const override { return n_shards_ == 1; }

 private:
  std::shared_ptr<std::byte> memory_for(std::size_t owner, std::size_t n_bytes) override;

  std::size_t shard_, n_shards_;
};

}  // namespace longreach::model
