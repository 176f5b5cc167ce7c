/// What a row costs: an estimate from bytes read, multiply-adds, bytes exchanged and the machine's
/// rates. It orders plans; it is no measurement. A row is a decoded token, for which all weights
/// are read, or one of a prompt, which shares that reading with hundreds of others and so is bound
/// by arithmetic.
#pragma once

#include "partition/machine.hpp"
#include "partition/memory.hpp"

#include <string_view>

namespace longreach::partition {

/// What most of a time goes into.
enum class Bound { kMemory, kArithmetic, kThreads, kExchange, kTransfer };

/// "memory", "arithmetic", "threads", "exchange" or "transfer".
std::string_view name_of(Bound bound);

/// Seconds a row spends in a stage.
struct RowTime {
  double read = 0;        ///< Decoding: the slowest shard reads weights, states and cache.
  double arithmetic = 0;  ///< Prompts: the slowest shard multiplies.
  double waiting = 0;     ///< A rank's threads wait for each other.
  double exchange = 0;    ///< The shards gather what each has computed.
  double transfer = 0;    ///< To the next stage.

  double total() const { return read + arithmetic + waiting + exchange + transfer; }
  Bound bound() const;
};

/// Bytes of one block that the slowest of n_shards reads or writes for a token at the end of the
/// context. Chosen chunks are expected to spread evenly; the newest one is on one shard.
std::size_t block_reads(const RunSizes& sizes, std::size_t block, std::size_t n_shards);

/// Multiply-adds of one block that the slowest of n_shards does for a prompt row at the end of the
/// context: products with weights and, for its heads, attention. The recurrence is left out.
std::size_t block_multiply_adds(const RunSizes& sizes, std::size_t block, std::size_t n_shards);

/// Seconds a row of the exchanges of one block among n_shards: 4 gatherings of rows in an RWKV-7
/// block, in a sparse one 4 and those of candidates and of partial results; log2(n_shards) messages
/// each, which the rows of a step share.
double block_exchange(const RunSizes& sizes, std::size_t block, std::size_t n_shards,
                      const Link& link, std::size_t step_rows);

/// Jobs of a decoded token that a rank's threads divide between them and wait for: of a block of
/// either kind, and of the head. Factors of low rank add more.
inline constexpr std::size_t kBlockJobs = 6, kHeadJobs = 1;

/// Seconds until a rank's threads have come together after these jobs, which the rows of a step
/// share: each job log2(n_threads) times what two threads take.
double job_waiting(std::size_t n_jobs, std::size_t n_threads, std::size_t step_rows);

/// Seconds a row until the next stage has the residual stream and the first block's values of a
/// step's rows, which are one message.
double stage_transfer(const RunSizes& sizes, const Link& link, std::size_t step_rows);

}  // namespace longreach::partition
