/// Keys and values of all tokens one sparse block has seen, cut into chunks, with an index by which
/// chunks are chosen.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/base/view.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/cache/chunk_index.hpp"
#include "model/cache/chunk_store.hpp"
#include "model/exchange.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace longreach::model {

using partition::GlobalChunk;
using partition::LocalChunk;

class KvCache;

/// The cache of a segment, and the segment's rows in the step.
struct SegmentCache {
  KvCache* cache;
  std::size_t first_row, n_rows;
};

/// Adds to every segment's cache its rows of k, v [T, H * 64], as KvCache::append does.
void append_segments(std::span<const SegmentCache> segments, base::MatView<const float> k,
                     base::MatView<const float> v, kernels::ThreadPool& pool);

/// What a shard keeps of a cache: the chunks it owns (partition/ownership.hpp), all heads of them.
/// Row r is in chunk r / chunk_size. Memory is taken a chunk at a time and resident only where rows
/// are. Move-only. Not collective, but all shards make, change and drop their caches in the same
/// order.
///
/// Layout of a chunk: consecutive heads, each as kernels::HeadLayout says. A row is rounded to the
/// cache's format once, when it is appended; whoever asks sees the rounded row.
class KvCache {
 public:
  /// The exchange and its chunk store must outlive the cache. Without an index, mean keys are one.
  KvCache(std::size_t n_head, std::size_t chunk_size, base::KvFormat format, Exchange& exchange,
          std::unique_ptr<ChunkIndex> index = nullptr);
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache() = default;

  /// The same rows once more. Chunks and index pieces that will not change are shared.
  KvCache fork() const;

  /// Rows, on all shards together.
  std::size_t size() const { return n_rows_; }
  std::size_t chunk_size() const { return chunk_size_; }
  base::KvFormat format() const { return layout_.format(); }
  /// Chunks that are full, on all shards together; the one after them is open.
  std::size_t closed_chunks() const { return n_rows_ / chunk_size_; }
  /// The chunk that a row lies in, and the shard that keeps both.
  GlobalChunk chunk_of_row(std::size_t row) const { return GlobalChunk(row / chunk_size_); }
  std::size_t owner_of_row(std::size_t row) const {
    return partition::owner_of_chunk(chunk_of_row(row), shard_.count);
  }
  /// Of the first n chunks those that are kept here.
  std::size_t own_chunks(std::size_t n) const { return partition::chunks_of(n, shard_); }
  /// The number over all shards of a chunk that is kept here.
  GlobalChunk global_chunk(LocalChunk chunk) const {
    return partition::global_chunk(chunk, shard_);
  }

  /// Adds rows k, v [T, H * 64], of which only those are read that are kept here, and closes chunks
  /// that become full.
  void append(base::MatView<const float> k, base::MatView<const float> v,
              kernels::ThreadPool& pool);

  /// One head's rows of a chunk that is kept here or can be reached.
  kernels::ChunkRows rows(GlobalChunk chunk, std::size_t head) const;

  /// All heads of a chunk that is kept here, as they lie in memory: chunk_bytes() of them.
  std::shared_ptr<const std::byte> chunk_memory(GlobalChunk chunk) const {
    return chunks_[number_of(chunk)].memory;
  }
  std::size_t chunk_bytes() const { return n_head_ * layout_.size_bytes(); }
  bool keeps(GlobalChunk chunk) const {
    return partition::owner_of_chunk(chunk, shard_.count) == shard_.index;
  }

  /// A chunk as a file has it; null where this shard cannot read it.
  using FileOf = std::function<std::shared_ptr<MappedChunk>(GlobalChunk)>;
  /// Makes the cache, which is empty, that of n_rows rows. Closed chunks are those of files; their
  /// index entries are to be loaded through restored_index(), and the open chunk's memory to be
  /// filled through open_memory().
  void restore(std::size_t n_rows, const FileOf& file_of);
  /// From now on these closed chunks are those of files, which have the same bytes.
  void move_to_files(partition::Range chunks, const FileOf& file_of);
  ChunkIndex& restored_index() { return *index_; }
  /// Of the open chunk; empty if there is none, or it is not kept here.
  std::span<std::byte> open_memory();

  /// The file that a chunk lies in; null if none, or if this shard cannot read it.
  const std::shared_ptr<MappedChunk>& file_of(GlobalChunk chunk) const {
    return chunks_[number_of(chunk)].file;
  }
  /// Whether any chunk lies in a file.
  bool has_files() const { return has_files_; }

  /// Equal for chunks that caches share, on every shard.
  std::uint64_t chunk_id(GlobalChunk chunk) const { return chunks_[number_of(chunk)].id; }

  /// The entries of this shard's closed chunks.
  const ChunkIndex& index() const { return *index_; }

  /// Bytes of keys, values and index entries that are held here: of chunks as a whole.
  std::size_t size_bytes() const;

 private:
  friend void append_segments(std::span<const SegmentCache>, base::MatView<const float>,
                              base::MatView<const float>, kernels::ThreadPool&);

  Chunk new_chunk(GlobalChunk chunk) const;
  /// Makes room for rows up to `n_rows`, exclusively.
  void reserve(std::size_t n_rows);
  /// Writes the rows of one head that are kept here, from row size() on.
  void put_head(std::size_t head, base::MatView<const float> k, base::MatView<const float> v);
  /// Counts n more rows, and publishes the chunks that they have filled.
  void advance(std::size_t n);

  Exchange* exchange_;
  partition::Shard shard_;
  std::size_t n_head_;
  std::size_t chunk_size_;
  kernels::HeadLayout layout_;  ///< Of a head in a chunk.
  std::size_t n_rows_ = 0;
  bool has_files_ = false;
  std::vector<Chunk> chunks_;  ///< Of all shards, by global number.
  std::unique_ptr<ChunkIndex> index_;
};

}  // namespace longreach::model
