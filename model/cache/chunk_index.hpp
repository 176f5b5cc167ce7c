/// What chunks are chosen by: for every closed chunk of a shard and every head an entry, against
/// which queries are scored.
#pragma once

#include "kernels/attention/kv_rows.hpp"
#include "kernels/base/view.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace longreach::model {

/// Entries lie in pieces of kPieceChunks consecutive chunks of the shard. A piece that is full
/// never changes, and forks share it.
class ChunkIndex {
 public:
  /// Chunks of a piece: as many as the kernels score at once.
  static constexpr std::size_t kPieceChunks = partition::kPanelColumns;

  ChunkIndex() = default;
  ChunkIndex(const ChunkIndex&) = delete;
  ChunkIndex& operator=(const ChunkIndex&) = delete;
  virtual ~ChunkIndex() = default;

  /// The entries of the first n_chunks chunks once more, which are all that are closed.
  virtual std::unique_ptr<ChunkIndex> fork(std::size_t n_chunks) const = 0;

  /// Makes room for the entries of the first n_chunks chunks of this shard.
  virtual void reserve(std::size_t n_chunks) = 0;
  /// Makes a head's entry of a chunk from its rows, all of which are kept. Heads may be closed by
  /// several threads at a time. Requires: reserved.
  virtual void close(std::size_t head, partition::LocalChunk chunk, const kernels::ChunkRows& rows,
                     std::size_t n_rows) = 0;

  /// Copies the entry of a closed chunk, bytes_per_chunk() of all heads, to `entry`.
  virtual void save(partition::LocalChunk chunk, std::span<std::byte> entry) const = 0;
  /// Takes an entry as it was saved, in place of closing the chunk. Requires: reserved.
  virtual void load(partition::LocalChunk chunk, std::span<const std::byte> entry) = 0;

  /// scores[r][i] = score of query r with the i-th chunk of a piece, for one head. Higher is
  /// better. Shapes: q [n, 64], scores [n, <= kPieceChunks]. Threads: re-entrant.
  virtual void score(std::size_t head, std::size_t piece, base::MatView<const float> q,
                     base::MatView<float> scores) const = 0;
  /// Equal for pieces that are the same memory: their scores can be computed together.
  virtual const void* piece_identity(std::size_t piece) const = 0;

  /// Bytes of all heads' entries of a chunk.
  virtual std::size_t bytes_per_chunk() const = 0;
  /// Bytes that are held here.
  virtual std::size_t size_bytes() const = 0;
};

/// The mean of a chunk's keys; a query's score is its product with that. The mean is the sum of the
/// keys as they are kept, in row order, divided by their number; in f32. Source: model-spec 4.1.
class MeanKeyIndex final : public ChunkIndex {
 public:
  explicit MeanKeyIndex(std::size_t n_head) : n_head_(n_head) {}

  std::unique_ptr<ChunkIndex> fork(std::size_t n_chunks) const override;
  void reserve(std::size_t n_chunks) override;
  void close(std::size_t head, partition::LocalChunk chunk, const kernels::ChunkRows& rows,
             std::size_t n_rows) override;
  void save(partition::LocalChunk chunk, std::span<std::byte> entry) const override;
  void load(partition::LocalChunk chunk, std::span<const std::byte> entry) override;
  void score(std::size_t head, std::size_t piece, base::MatView<const float> q,
             base::MatView<float> scores) const override;
  const void* piece_identity(std::size_t piece) const override { return pieces_[piece].get(); }
  std::size_t bytes_per_chunk() const override;
  std::size_t size_bytes() const override;

 private:
  using Piece = std::shared_ptr<base::Buffer<float>>;  ///< [head][64 channels][kPieceChunks]

  Piece new_piece() const;
  /// The first channel of a chunk's mean; the others follow kPieceChunks apart.
  float* mean(std::size_t head, partition::LocalChunk chunk) const;

  std::size_t n_head_;
  std::vector<Piece> pieces_;
};

}  // namespace longreach::model
