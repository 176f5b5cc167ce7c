/// The exchange between the shards of a stage, over message passing.
#pragma once

#include "dist/comm/communicator.hpp"
#include "dist/trace/recorder.hpp"
#include "model/exchange.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace longreach::dist {

/// Bytes by what they are for.
using TrafficBytes = std::array<std::uint64_t, model::kTrafficKinds>;

/// Whether shards of one node read each other's chunks where they lie.
enum class ChunkMemory { kShared, kOwn };

/// Counts what this shard sends, block by block. Communicator and recorder must outlive it.
class ShardExchange final : public model::Exchange {
 public:
  /// Collective: all shards.
  ShardExchange(Communicator& shards, std::size_t n_blocks, ChunkMemory memory, Recorder& recorder);

  partition::Shard shard() const override;
  void begin_block(std::size_t block) override;
  void all_gather(model::Traffic traffic, std::span<std::byte> all,
                  std::span<const partition::Range> parts) override;
  void all_to_all(model::Traffic traffic, std::span<const std::byte> sent,
                  std::span<const partition::Range> sent_parts, std::span<std::byte> received,
                  std::span<const partition::Range> received_parts) override;
  void barrier() override;
  /// A text of each shard, in order. Collective.
  std::vector<std::string> gather(const std::string& own);
  model::ChunkStore& chunk_store() override { return *chunks_; }

  /// What this shard has sent to others, by block of the model.
  const std::vector<TrafficBytes>& sent_bytes() const { return sent_; }

 private:
  void count(model::Traffic traffic, std::size_t n_bytes);

  Communicator& shards_;
  Recorder& recorder_;
  std::unique_ptr<model::ChunkStore> chunks_;
  std::size_t block_ = 0;
  std::vector<TrafficBytes> sent_;
};

}  // namespace longreach::dist
