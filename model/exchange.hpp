/// What the shards of a stage must tell each other while they compute a block together.
///
/// Every shard computes its own heads and output columns and keeps its own chunks of the cache
/// (partition/ownership.hpp); the exchange makes whole rows of them and brings queries and chunks
/// together. It moves bits and computes nothing, so a result does not depend on how many shards
/// there are.
#pragma once

#include "model/cache/chunk_store.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace longreach::model {

/// What bytes between shards are for.
enum class Traffic {
  kColumns,     ///< Rows of which every shard computed some columns.
  kQueries,     ///< Queries to all shards, keys and values to the shard that keeps them.
  kCandidates,  ///< Scores of the best chunks of each shard.
  kPartials,    ///< Unfinished attention, from a chunk's shard to the head's.
  kChunks,      ///< Keys and values of chosen chunks, to the head's shard.
  kMasses,      ///< How attention divides between rows or chunks, when that is asked for.
};

/// "columns", "queries" and so on.
std::string_view name_of(Traffic traffic);

/// How many kinds there are.
inline constexpr std::size_t kTrafficKinds = 6;

/// The shards of a stage as one of them sees them.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  virtual ~Exchange() = default;

  virtual partition::Shard shard() const = 0;

  /// What follows is for this block of the model (in execution order).
  virtual void begin_block(std::size_t) {}

  /// Part s of `all`, in bytes, goes from shard s to everybody. Collective; the parts are the same
  /// on all shards.
  virtual void all_gather(Traffic traffic, std::span<std::byte> all,
                          std::span<const partition::Range> parts) = 0;

  /// Part s of `sent` goes to shard s, and part s of `received` comes from shard s. Collective;
  /// what a shard sends to another is as long as what that one expects. Where there is one shard,
  /// nothing moves.
  virtual void all_to_all(Traffic traffic, std::span<const std::byte> sent,
                          std::span<const partition::Range> sent_parts,
                          std::span<std::byte> received,
                          std::span<const partition::Range> received_parts) = 0;

  /// Returns when all shards have called it, and what they wrote before is seen here. Collective.
  virtual void barrier() = 0;

  /// Where the memory of the cache's chunks comes from.
  virtual ChunkStore& chunk_store() = 0;
};

/// A stage of one shard, which has nobody to tell anything.
class NoExchange final : public Exchange {
 public:
  partition::Shard shard() const override { return {0, 1}; }
  void all_gather(Traffic, std::span<std::byte>, std::span<const partition::Range>) override {}
  void all_to_all(Traffic, std::span<const std::byte>, std::span<const partition::Range>,
                  std::span<std::byte>, std::span<const partition::Range>) override {}
  void barrier() override {}
  ChunkStore& chunk_store() override { return chunks_; }

 private:
  PrivateChunkStore chunks_{0, 1};
};

}  // namespace longreach::model
