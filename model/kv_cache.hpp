/// Keys and values of all tokens one sparse block has seen, cut into chunks with their mean keys,
/// so that choosing chunks for a token costs the same whatever the chunks hold.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/base/view.hpp"
#include "kernels/parallel.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longreach::model {

/// Row r is in chunk r / chunk_size. Memory is taken a chunk at a time and resident only where rows
/// are. Move-only.
///
/// Layout of a chunk: [head][key panels (32 rows each): 64 channels x 32 rows | values: rows x 64
/// channels].
class KvCache {
 public:
  KvCache(std::size_t n_head, std::size_t chunk_size);

  /// Rows.
  std::size_t size() const { return n_rows_; }
  std::size_t chunk_size() const { return chunk_size_; }
  /// Chunks that are full; the one after them is open.
  std::size_t closed_chunks() const { return n_rows_ / chunk_size_; }

  /// Adds rows k, v [T, H * 64] and closes chunks that become full. A mean key is its chunk's keys
  /// added in row order, divided by the chunk size.
  void append(base::MatView<const float> k, base::MatView<const float> v,
              kernels::ThreadPool& pool);

  /// One head's rows of a chunk.
  kernels::ChunkRows rows(std::size_t chunk, std::size_t head) const;

  /// scores[r][i] = q[r] . mean key of closed chunk i, for i < scores.cols(), of one head.
  /// Shapes: q [rows, 64], scores [rows, <= closed_chunks()].
  void score_chunks(std::size_t head, base::MatView<const float> q,
                    base::MatView<float> scores) const;

  /// scores[i] = q . key of row i, for i < scores.size(), of one head.
  void score_rows(std::size_t head, std::span<const float> q, std::span<float> scores) const;

  /// A new cache whose row i holds, in every head h, this cache's row kept[h][i].
  KvCache select(const std::vector<std::vector<std::uint32_t>>& kept,
                 kernels::ThreadPool& pool) const;

  /// Bytes of keys, values and means that hold rows.
  std::size_t size_bytes() const;

 private:
  struct Location {
    std::size_t chunk, row;
  };

  Location locate(std::size_t row) const { return {row / chunk_size_, row % chunk_size_}; }
  /// Numbers of one head in a chunk: keys, values, both.
  std::size_t head_keys() const;
  std::size_t head_values() const { return chunk_size_ * kernels::kHeadSize; }
  std::size_t head_numbers() const { return head_keys() + head_values(); }
  /// Makes room for rows up to `n_rows`, exclusively.
  void reserve(std::size_t n_rows);
  /// Writes one row of one head, whose rows come in order, and carries the running mean on.
  void put(std::size_t head, std::size_t row, const float* k, const float* v);

  std::size_t n_head_;
  std::size_t chunk_size_;
  std::size_t n_rows_ = 0;
  std::vector<base::Buffer<float>> chunks_;
  /// Mean keys of closed chunks, 32 chunks to a buffer: [head][64 channels][32 chunks].
  std::vector<base::Buffer<float>> means_;
  /// Sum of the open chunk's keys, [head][64].
  std::vector<float> open_sums_;
};

}  // namespace longreach::model
