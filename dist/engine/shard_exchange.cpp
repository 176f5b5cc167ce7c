#include "dist/engine/shard_exchange.hpp"

#include "dist/comm/gather_texts.hpp"
#include "dist/engine/shared_chunk_store.hpp"

namespace longreach::dist {

ShardExchange::ShardExchange(Communicator& shards, std::size_t n_blocks, ChunkMemory memory,
                             Recorder& recorder)
    : shards_(shards), recorder_(recorder), sent_(n_blocks) {
  if (shards.size() > 1 && memory == ChunkMemory::kShared) {
    chunks_ = make_shared_chunk_store(shards);
  }
  if (!chunks_) chunks_ = std::make_unique<model::PrivateChunkStore>(shards.rank(), shards.size());
}

partition::Shard ShardExchange::shard() const { return {shards_.rank(), shards_.size()}; }

void ShardExchange::begin_block(std::size_t block) {
  block_ = block;
  recorder_.begin_block(block);
}

void ShardExchange::count(model::Traffic traffic, std::size_t n_bytes) {
  sent_[block_][static_cast<std::size_t>(traffic)] += n_bytes;
}

void ShardExchange::all_gather(model::Traffic traffic, std::span<std::byte> all,
                               std::span<const partition::Range> parts) {
  if (shards_.size() == 1) return;
  const auto span = recorder_.span(Activity::kExchange, static_cast<std::size_t>(traffic));
  shards_.all_gather(all, parts);
  count(traffic, parts[shards_.rank()].size() * (shards_.size() - 1));
}

void ShardExchange::all_to_all(model::Traffic traffic, std::span<const std::byte> sent,
                               std::span<const partition::Range> sent_parts,
                               std::span<std::byte> received,
                               std::span<const partition::Range> received_parts) {
  if (shards_.size() == 1) return;
  const auto span = recorder_.span(Activity::kExchange, static_cast<std::size_t>(traffic));
  shards_.all_to_all(sent, sent_parts, received, received_parts);
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    if (s != shards_.rank()) count(traffic, sent_parts[s].size());
  }
}

std::vector<std::string> ShardExchange::gather(const std::string& own) {
  return gather_texts(shards_, own);
}

void ShardExchange::barrier() {
  if (shards_.size() > 1) shards_.barrier();
}

}  // namespace longreach::dist
