#include "model/cache/distributed_attention.hpp"

#include "model/cache/gather.hpp"
#include "model/cache/ship.hpp"

#include <vector>

namespace longreach::model {
namespace {

bool gathers(const Context& context, const ChunkAttention& attention) {
  if (context.exchange.shard().count == 1) return true;
  switch (context.attention.exchange) {
    case ExchangeWay::kShip:
      return false;
    case ExchangeWay::kGather:
      return true;
    case ExchangeWay::kAuto:
      break;
  }
  return gathering_moves_less(attention);
}

/// Brings into memory what this shard reads of chunks that lie in files.
void hold_mapped_chunks(Context& context, const ChunkAttention& attention, bool reads_all_chunks) {
  const Selection& selection = attention.selection();
  std::vector<MappedHead> heads;
  for (std::size_t i = 0; i < selection.n_queries(); ++i) {
    const KvCache& cache = selection.cache(i);
    if (!cache.has_files()) continue;
    const auto of_readers = reads_all_chunks ? attention.own_heads() : attention.all_heads();
    for (std::size_t head = of_readers.begin; head < of_readers.end; ++head) {
      selection.for_each_chunk(head, i, {0, selection.n_chunks()},
                               [&](GlobalChunk chunk, auto, auto) {
                                 const auto& file = cache.file_of(chunk);
                                 if (file && (reads_all_chunks || cache.keeps(chunk)))
                                   heads.push_back({file, head});
                               });
    }
  }
  if (!heads.empty()) context.exchange.chunk_store().mapped_heads().hold(heads, context.pool);
}

}  // namespace

void attend_chunks(Context& context, base::MatView<const float> q, base::MatView<float> y) {
  ChunkAttention attention(context, q);
  const bool is_gathered = gathers(context, attention);
  hold_mapped_chunks(context, attention,
                     is_gathered && context.exchange.chunk_store().reaches_all());
  if (is_gathered) {
    gather(attention);
  } else {
    ship(attention);
  }
  attention.finish(y);
  attention.report_shares(is_gathered ? Partials::kStay : Partials::kTravel);
}

}  // namespace longreach::model
