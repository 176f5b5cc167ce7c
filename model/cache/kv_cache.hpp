/// Keys and values of all tokens one sparse block has seen, cut into chunks with their mean keys,
/// so that choosing chunks for a token costs the same whatever the chunks hold.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/base/view.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/exchange.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace longreach::model {

/// What a shard keeps of a cache: the chunks it owns (partition/ownership.hpp), all heads of them.
/// Row r is in chunk r / chunk_size. Memory is taken a chunk at a time and resident only where rows
/// are. Move-only. Not collective, but all shards make, change and drop their caches in the same
/// order.
///
/// Layout of a chunk: heads behind one another, each as kernels::HeadLayout says. A row is rounded
/// to the cache's format once, when it is appended; whoever asks sees the rounded row.
class KvCache {
 public:
  /// The exchange must outlive the cache.
  KvCache(std::size_t n_head, std::size_t chunk_size, base::KvFormat format, Exchange& exchange);
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache() = default;

  /// The same rows once more. Chunks and means that will not change are shared.
  KvCache fork() const;

  /// Rows, on all shards together.
  std::size_t size() const { return n_rows_; }
  std::size_t chunk_size() const { return chunk_size_; }
  base::KvFormat format() const { return layout_.format(); }
  /// Chunks that are full, on all shards together; the one after them is open.
  std::size_t closed_chunks() const { return n_rows_ / chunk_size_; }
  /// The shard that keeps a row.
  std::size_t owner_of_row(std::size_t row) const {
    return partition::owner_of_chunk(row / chunk_size_, shard_.count);
  }
  /// Of the first n chunks those that are kept here.
  std::size_t own_chunks(std::size_t n) const { return partition::chunks_of(n, shard_); }
  /// The number of the i-th chunk that is kept here.
  std::size_t own_chunk(std::size_t i) const { return i * shard_.count + shard_.index; }

  /// Adds rows k, v [T, H * 64], of which only those are read that are kept here, and closes chunks
  /// that become full. A mean key is its chunk's keys, as they are kept, added in row order,
  /// divided by the chunk size; in f32.
  void append(base::MatView<const float> k, base::MatView<const float> v,
              kernels::ThreadPool& pool);

  /// One head's rows of a chunk that is kept here or can be reached.
  kernels::ChunkRows rows(std::size_t chunk, std::size_t head) const;

  /// scores[r][i] = q[r] . mean key of own closed chunk i, for i < scores.cols(), of one head.
  /// Shapes: q [rows, 64], scores [rows, <= own_chunks(closed_chunks())].
  void score_chunks(std::size_t head, base::MatView<const float> q,
                    base::MatView<float> scores) const;

  /// scores[i] = q . key of row i of a chunk that is kept here, for i < scores.size(), of one head.
  void score_rows(std::size_t head, std::size_t chunk, std::span<const float> q,
                  std::span<float> scores) const;

  /// Key and value (64 numbers each) of a row that is kept here, of one head. Appended again they
  /// are kept as the same bits.
  void copy_row(std::size_t head, std::size_t row, std::span<float> key,
                std::span<float> value) const;

  /// Bytes of keys, values and means that are held here: of chunks as a whole.
  std::size_t size_bytes() const;

 private:
  using Chunk = std::shared_ptr<std::byte>;
  using Means = std::shared_ptr<float>;

  std::size_t chunk_bytes() const { return n_head_ * layout_.size_bytes(); }
  Chunk new_chunk(std::size_t chunk) const;
  Means new_means() const;
  /// Makes room for rows up to `n_rows`, exclusively.
  void reserve(std::size_t n_rows);
  /// Writes one row of one head, whose rows come in order, and carries the running mean on.
  void put(std::size_t head, std::size_t row, std::span<const float> k, std::span<const float> v);

  Exchange* exchange_;
  partition::Shard shard_;
  std::size_t n_head_;
  std::size_t chunk_size_;
  kernels::HeadLayout layout_;  ///< Of a head in a chunk.
  std::size_t n_rows_ = 0;
  std::vector<Chunk> chunks_;  ///< Of all shards; empty where not reached.
  /// Mean keys of own closed chunks, 32 chunks to a piece: [head][64 channels][32 chunks].
  std::vector<Means> means_;
  /// Sum of the open chunk's keys, [head][64], on its shard.
  std::vector<float> open_sums_;
};

}  // namespace longreach::model
