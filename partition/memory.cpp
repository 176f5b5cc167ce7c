#include "partition/memory.hpp"

#include <algorithm>

namespace longreach::partition {
namespace {

constexpr std::size_t kFloat = sizeof(float);
constexpr std::size_t kLogitRows = 16;     // positions whose logits are computed together
constexpr std::size_t kGroupQueries = 64;  // queries whose chunk scores are held by a thread

/// Channels of the heads that a shard computes.
std::size_t head_channels(const RunSizes& s, Shard shard) {
  return heads_of(s.n_head, shard).size() * (s.n_embd / s.n_head);
}

/// A matrix whose columns are filled up to whole panels.
std::size_t matrix_bytes(const RunSizes& s, std::size_t n_in, std::size_t n_columns) {
  return base::column_bytes(s.weights, n_in) * padded(n_columns);
}

std::size_t weight_bytes(const RunSizes& s, const BlockSizes& block, Shard shard) {
  const std::size_t c = s.n_embd;
  const std::size_t of_heads = head_channels(s, shard);
  const std::size_t of_channels = columns_of(c, shard).size();
  const std::size_t hidden = columns_of(s.ffn_size, shard).size();
  const std::size_t projections =
      3 * matrix_bytes(s, c, of_heads) + matrix_bytes(s, c, of_channels);
  std::size_t matrices =
      projections + matrix_bytes(s, c, hidden) + matrix_bytes(s, s.ffn_size, of_channels);
  for (const std::size_t rank : block.low_ranks) {
    matrices += matrix_bytes(s, c, rank) + matrix_bytes(s, rank, of_heads);
  }
  // Vectors of C: per RWKV block 7 shifts, a bias for each low-rank pair but the gate's, 3 scales
  // and 3 norms; per sparse block 1 and 2 norms.
  const std::size_t vectors = block.kind == BlockKind::kRwkv ? 15 + block.low_ranks.size() : 5;
  return matrices + vectors * c * kFloat;
}

std::size_t state_bytes(const RunSizes& s, BlockKind kind, Shard shard) {
  if (kind == BlockKind::kSparse) return s.n_embd * kFloat;
  const std::size_t matrices = head_channels(s, shard) * (s.n_embd / s.n_head);
  return (matrices + 2 * s.n_embd) * kFloat;
}

std::size_t cache_bytes(const RunSizes& s, Shard shard) {
  // Large pages make a chunk take its memory as a whole. Shards of a node share chunks in memory of
  // small pages; of those on other nodes this counts up to a chunk too little.
  const std::size_t n_whole =
      shard.count == 1 ? (s.context_tokens + s.chunk_size - 1) / s.chunk_size * s.chunk_size
                       : s.context_tokens;
  const std::size_t n_tokens = tokens_of(n_whole, s.chunk_size, shard);
  const std::size_t key_rows =
      n_tokens / s.chunk_size * padded(s.chunk_size) + padded(n_tokens % s.chunk_size);
  // Keys, and the scales of keys and of values, are filled up to whole panels.
  return (key_rows + n_tokens) * s.n_embd * base::size_of(s.kv) +
         2 * key_rows * s.n_head * base::scale_bytes(s.kv);
}

std::size_t closed_chunks(const RunSizes& s, Shard shard) {
  return chunks_of(s.context_tokens / s.chunk_size, shard);
}

/// Low ranks and scores count wherever the model has them: a workspace fits every block.
std::size_t workspace_bytes(const RunSizes& s, Shard shard) {
  std::size_t largest_rank = 0;
  bool has_scores = false;
  for (const BlockSizes& block : s.blocks) {
    for (const std::size_t rank : block.low_ranks) largest_rank = std::max(largest_rank, rank);
    has_scores = has_scores || (block.kind == BlockKind::kSparse && s.keeps_cache);
  }
  const std::size_t slice = std::min(s.slice_tokens, s.context_tokens);
  const std::size_t n_held = std::max(slice, s.held_tokens);
  const std::size_t rows =
      slice * (10 * s.n_embd + s.ffn_size + largest_rank) + n_held * 2 * s.n_embd;
  const std::size_t scores = has_scores ? s.n_threads * kGroupQueries * closed_chunks(s, shard) : 0;
  return (rows + scores) * kFloat;
}

}  // namespace

MemoryNeed& MemoryNeed::operator+=(const MemoryNeed& other) {
  weights += other.weights;
  states += other.states;
  cache += other.cache;
  means += other.means;
  buffers += other.buffers;
  program += other.program;
  return *this;
}

MemoryNeed block_memory(const RunSizes& sizes, std::size_t block, Shard shard) {
  const BlockSizes& own = sizes.blocks[block];
  MemoryNeed need;
  need.weights = weight_bytes(sizes, own, shard);
  need.states = state_bytes(sizes, own.kind, shard);
  if (own.kind == BlockKind::kSparse && sizes.keeps_cache) {
    need.cache = cache_bytes(sizes, shard);
    need.means = padded(closed_chunks(sizes, shard)) * sizes.n_embd * kFloat;
  }
  return need;
}

MemoryNeed stage_memory(const RunSizes& sizes, Range blocks, Shard shard) {
  const bool has_head = blocks.end == sizes.blocks.size();
  const std::size_t norm = 2 * sizes.n_embd * kFloat;
  MemoryNeed need;
  const bool is_alone = shard.count == 1 && blocks.size() == sizes.blocks.size();
  need.program = kProgramBytes + (is_alone ? 0 : kMessagePassingBytes);
  need.buffers = workspace_bytes(sizes, shard);
  if (blocks.begin == 0) need.weights += norm;
  if (has_head) {
    const std::size_t n_columns = columns_of(sizes.vocab_size, shard).size();
    need.weights += norm + matrix_bytes(sizes, sizes.n_embd, n_columns);
    need.buffers += kLogitRows * (sizes.vocab_size + sizes.n_embd) * kFloat;
  }
  return need;
}

MemoryNeed memory_need(const RunSizes& sizes, Range blocks, Shard shard) {
  MemoryNeed need = stage_memory(sizes, blocks, shard);
  for (std::size_t i = blocks.begin; i < blocks.end; ++i) need += block_memory(sizes, i, shard);
  return need;
}

MemoryNeed memory_need(const RunSizes& sizes) {
  return memory_need(sizes, {0, sizes.blocks.size()}, {});
}

}  // namespace longreach::partition
