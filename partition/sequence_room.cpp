#include "partition/sequence_room.hpp"

#include <algorithm>
#include <limits>

namespace longreach::partition {
namespace {

SequenceRoom room_of(const RunSizes& sizes, const RankPlan& rank, Range blocks,
                     std::size_t n_shards) {
  const MemoryNeed& held = rank.memory;
  const std::size_t beside = held.weights + held.buffers + held.program;
  std::size_t n_sparse = 0;
  for (std::size_t i = blocks.begin; i < blocks.end; ++i) {
    if (sizes.blocks[i].kind == BlockKind::kSparse) ++n_sparse;
  }
  const std::size_t chunk_bytes = n_sparse * (sizes.cache.chunk_bytes + sizes.cache.mean_bytes);
  const std::size_t tokens_of_chunk =
      n_shards * sizes.chunk_size;  // of which this rank has its own
  return {
      .bytes = rank.place.memory_bytes - std::min(rank.place.memory_bytes, beside),
      // The mean keys of chunks lie in panels, of which the last one is not full.
      .each = {.fixed = held.states + chunk_bytes + n_sparse * padded(1) * sizes.cache.mean_bytes,
               .per_token = (chunk_bytes + tokens_of_chunk - 1) / tokens_of_chunk}};
}

}  // namespace

SequenceRoom sequence_room(const RunSizes& sizes, const Plan& plan) {
  SequenceRoom least;
  double least_sequences = std::numeric_limits<double>::infinity();
  for (const RankPlan& rank : plan.ranks) {
    const SequenceRoom room =
        room_of(sizes, rank, plan.stages[rank.stage].blocks, plan.grid.n_shards);
    const std::size_t longest = std::max<std::size_t>(room.each.of(sizes.context_tokens), 1);
    const double n_sequences = static_cast<double>(room.bytes) / static_cast<double>(longest);
    if (n_sequences < least_sequences) {
      least_sequences = n_sequences;
      least = room;
    }
  }
  return least;
}

}  // namespace longreach::partition
