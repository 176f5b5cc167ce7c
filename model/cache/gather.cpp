#include "model/cache/gather.hpp"

#include "model/transfer_plan.hpp"

#include <limits>
#include <map>
#include <unordered_map>

namespace longreach::model {
namespace {

using kernels::HeadLayout;
using kernels::Partial;
using partition::Range;

/// Bytes of keys and values that travel in a round. A round has one chunk at least.
constexpr std::size_t kRoundBytes = std::size_t{1} << 25;

/// The chunks that a step's queries see, those that sequences share once, and which heads see them.
/// The same on all shards.
class VisitedChunks {
 public:
  explicit VisitedChunks(const Selection& selection)
      : n_heads_(selection.n_heads()), by_number_(selection.n_chunks()) {
    for (std::size_t head = 0; head < n_heads_; ++head) {
      for (std::size_t i = 0; i < selection.n_queries(); ++i) {
        const KvCache& cache = selection.cache(i);
        selection.for_each_chunk(head, i, {0, selection.n_chunks()},
                                 [&](GlobalChunk chunk, auto, auto) {
                                   seen_[index_of(cache, chunk) * n_heads_ + head] = 1;
                                 });
      }
    }
  }

  /// The chunks of a number, by their indices.
  std::span<const std::size_t> of_number(GlobalChunk chunk) const {
    return by_number_[number_of(chunk)];
  }
  std::size_t find(std::uint64_t chunk_id) const { return indices_.at(chunk_id); }
  bool is_seen(std::size_t index, std::size_t head) const {
    return seen_[index * n_heads_ + head] != 0;
  }

  kernels::ChunkRows rows(std::size_t index, std::size_t head) const {
    return chunks_[index].cache->rows(chunks_[index].number, head);
  }
  /// One head of a chunk as it travels: the rows there are, as they are kept. A chunk that
  /// sequences share is closed, so it has the same rows in each.
  HeadLayout travelling(std::size_t index) const {
    const auto& [cache, number] = chunks_[index];
    return {cache->format(),
            std::min(cache->chunk_size(), cache->size() - number_of(number) * cache->chunk_size())};
  }

 private:
  struct VisitedChunk {
    const KvCache* cache;  ///< One of those that share it.
    GlobalChunk number;
  };

  std::size_t index_of(const KvCache& cache, GlobalChunk chunk) {
    const auto [found, is_new] = indices_.try_emplace(cache.chunk_id(chunk), chunks_.size());
    if (is_new) {
      by_number_[number_of(chunk)].push_back(chunks_.size());
      chunks_.push_back({&cache, chunk});
      seen_.resize(chunks_.size() * n_heads_);
    }
    return found->second;
  }

  std::size_t n_heads_;
  std::vector<VisitedChunk> chunks_;
  std::unordered_map<std::uint64_t, std::size_t> indices_;  ///< By the chunk's id.
  std::vector<std::vector<std::size_t>> by_number_;
  std::vector<std::uint8_t> seen_;  ///< [index][head]
};

/// A head of a chunk, as it goes from shard to shard.
struct ChunkHead {
  std::size_t index, head;
};

void gather_round(ChunkAttention& attention, const VisitedChunks& visited, Range chunks) {
  const std::size_t own = attention.context().exchange.shard().index;
  std::map<std::pair<std::size_t, std::size_t>, const std::byte*> came;  // by index and head
  exchange_items(
      attention.context(), Traffic::kChunks,
      [&](std::size_t from, std::size_t to, auto&& item) {
        if (from == to) return;  // a shard sends itself nothing
        const Range heads = attention.heads_of(to);
        for (std::size_t number = chunks.begin; number < chunks.end; ++number) {
          const auto chunk = GlobalChunk(number);
          if (attention.owner_of(chunk) != from) continue;
          for (const std::size_t index : visited.of_number(chunk)) {
            for (std::size_t head = heads.begin; head < heads.end; ++head) {
              if (visited.is_seen(index, head)) item(ChunkHead{index, head});
            }
          }
        }
      },
      [&](const ChunkHead& item) { return visited.travelling(item.index).size_bytes(); },
      [&](const ChunkHead& item, std::byte* to) {
        visited.travelling(item.index).copy(visited.rows(item.index, item.head), to);
      },
      [&](const ChunkHead& item, const std::byte* from) {
        came[{item.index, item.head}] = from;
      });
  attention.attend_own_heads(chunks, [&](const ChunkVisit& visit, std::size_t head) {
    if (attention.owner_of(visit.chunk) == own) {
      return attention.selection().cache(visit.query).rows(visit.chunk, head);
    }
    const std::size_t index = visited.find(visit.chunk_id);
    return visited.travelling(index).rows(came.at({index, head}));
  });
}

}  // namespace

void gather(ChunkAttention& attention) {
  Exchange& exchange = attention.context().exchange;
  const Selection& selection = attention.selection();
  if (exchange.chunk_store().reaches_all()) {
    // What their shards have appended is seen, and stays until the heads' output is shared.
    exchange.barrier();
    attention.attend_own_heads({0, selection.n_chunks()},
                               [&](const ChunkVisit& visit, std::size_t head) {
                                 return selection.cache(visit.query).rows(visit.chunk, head);
                               });
    return;
  }
  const VisitedChunks visited(selection);
  const auto n_bytes = [&](std::size_t chunk) {
    std::size_t n = 0;
    for (const std::size_t index : visited.of_number(GlobalChunk(chunk))) {
      for (std::size_t head = 0; head < selection.n_heads(); ++head) {
        if (visited.is_seen(index, head)) n += visited.travelling(index).size_bytes();
      }
    }
    return n;
  };
  attention.for_rounds(kRoundBytes, n_bytes,
                       [&](Range chunks) { gather_round(attention, visited, chunks); });
}

bool gathering_moves_less(const ChunkAttention& attention) {
  if (attention.context().exchange.chunk_store().reaches_all()) return true;
  if (attention.n_queries() == 1) return false;  // a chunk is more than its partial
  const Selection& selection = attention.selection();
  const VisitedChunks visited(selection);
  const std::size_t n_shards = attention.context().exchange.shard().count;
  std::size_t shipped = 0, gathered = 0;
  for (std::size_t head = 0; head < selection.n_heads(); ++head) {
    const std::size_t head_owner = partition::part_holding(head, selection.n_heads(), n_shards);
    for (std::size_t i = 0; i < selection.n_queries(); ++i) {
      selection.for_each_chunk(head, i, {0, selection.n_chunks()},
                               [&](GlobalChunk chunk, auto, auto) {
                                 if (attention.owner_of(chunk) != head_owner) {
                                   shipped += sizeof(Partial);
                                 }
                               });
    }
    for (std::size_t number = 0; number < selection.n_chunks(); ++number) {
      const auto chunk = GlobalChunk(number);
      if (attention.owner_of(chunk) == head_owner) continue;
      for (const std::size_t index : visited.of_number(chunk)) {
        if (visited.is_seen(index, head)) gathered += visited.travelling(index).size_bytes();
      }
    }
  }
  return gathered < shipped;
}

}  // namespace longreach::model
