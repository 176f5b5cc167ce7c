#include "partition/memory.hpp"

#include <algorithm>

namespace longreach::partition {
namespace {

std::size_t mapped_chunks(const RunSizes& s, Shard shard) {
  return chunks_of(s.mapped_tokens / s.chunk_size, shard);
}

std::size_t cache_bytes(const RunSizes& s, Shard shard) {
  const std::size_t n_closed = s.context_tokens / s.chunk_size;
  const bool has_open = s.context_tokens % s.chunk_size != 0 &&
                        owner_of_chunk(GlobalChunk(n_closed), shard.count) == shard.index;
  // Large pages make a chunk take its memory as a whole. Shards of a node share chunks in memory of
  // small pages; of those on other nodes this counts up to a chunk too little.
  const std::size_t open_bytes = shard.count == 1 ? s.cache.chunk_bytes : s.cache.open_bytes;
  return (chunks_of(n_closed, shard) - mapped_chunks(s, shard)) * s.cache.chunk_bytes +
         (has_open ? open_bytes : 0);
}

std::size_t closed_chunks(const RunSizes& s, Shard shard) {
  return chunks_of(s.context_tokens / s.chunk_size, shard);
}

}  // namespace

void ShardedAmount::add_divided(std::size_t n_units, std::size_t unit_amount) {
  const auto same = std::ranges::find(divided_, n_units, &Divided::n_units);
  if (same == divided_.end()) {
    divided_.push_back({n_units, unit_amount});
  } else {
    same->unit_amount += unit_amount;
  }
}

std::size_t ShardedAmount::of(Shard shard) const {
  std::size_t amount = whole_;
  for (const Divided& part : divided_) {
    amount += part_of(part.n_units, shard.index, shard.count).size() * part.unit_amount;
  }
  return amount;
}

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
  need.weights = own.weights.of(shard);
  need.states = own.state.of(shard);
  if (own.kind == BlockKind::kSparse) {
    need.cache = cache_bytes(sizes, shard);
    // Means are kept in panels of chunks.
    need.means = padded(closed_chunks(sizes, shard)) * sizes.cache.mean_bytes;
  }
  return need;
}

MemoryNeed stage_memory(const RunSizes& sizes, Range blocks, Shard shard) {
  MemoryNeed need;
  const bool is_alone = shard.count == 1 && blocks.size() == sizes.blocks.size();
  need.program = kProgramBytes + (is_alone ? 0 : kMessagePassingBytes);
  need.buffers = sizes.buffers.row_bytes +
                 sizes.n_threads *
                     std::min(closed_chunks(sizes, shard), sizes.buffers.most_scored) *
                     sizes.buffers.score_bytes;
  std::size_t n_sparse = 0;
  for (std::size_t i = blocks.begin; i < blocks.end; ++i) {
    if (sizes.blocks[i].kind == BlockKind::kSparse) ++n_sparse;
  }
  need.cache = std::min(sizes.mapped_bytes,
                        n_sparse * mapped_chunks(sizes, shard) * sizes.cache.chunk_bytes);
  if (blocks.begin == 0) need.weights += sizes.input.of(shard);
  if (blocks.end == sizes.blocks.size()) {
    need.weights += sizes.output.of(shard);
    need.buffers += sizes.buffers.logit_bytes;
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
