/// What decoding one token costs: an estimate from bytes read, bytes exchanged and the machine's
/// bandwidths. It orders plans; it is no measurement.
#pragma once

#include "partition/machine.hpp"
#include "partition/memory.hpp"

#include <string_view>

namespace longreach::partition {

/// What most of a time goes into.
enum class Bound { kMemory, kExchange, kTransfer };

/// "memory", "exchange" or "transfer".
std::string_view name_of(Bound bound);

/// Seconds a token spends in a stage.
struct TokenTime {
  double read = 0;      ///< Its slowest shard reads weights, states and cache.
  double exchange = 0;  ///< Its shards gather what each has computed.
  double transfer = 0;  ///< To the next stage.

  double total() const { return read + exchange + transfer; }
  Bound bound() const;
};

/// Bytes of one block that the slowest of n_shards reads or writes for a token at the end of the
/// context. Chosen chunks are expected to spread evenly; the newest one is on one shard.
std::size_t block_reads(const RunSizes& sizes, std::size_t block, std::size_t n_shards);

/// Seconds of the exchanges of one block among n_shards: 4 gatherings of rows in an RWKV-7 block,
/// in a sparse one 4 and those of candidates and of partial results; log2(n_shards) messages each.
double block_exchange(const RunSizes& sizes, std::size_t block, std::size_t n_shards,
                      const Link& link);

/// Seconds until the next stage has the residual stream and the first block's values.
double stage_transfer(const RunSizes& sizes, const Link& link);

}  // namespace longreach::partition
