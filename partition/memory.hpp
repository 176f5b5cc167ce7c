/// The sizes of a run, and how much memory it needs: of one rank or of any part of a grid. Pure
/// arithmetic: knows neither files nor this machine.
#pragma once

#include "partition/ownership.hpp"

#include <cstddef>
#include <vector>

namespace longreach::partition {

/// The two kinds of blocks. Both are followed by a channel mix inside the same block.
enum class BlockKind { kRwkv, kSparse };

/// An amount of which each shard of a stage has its part: bytes, or multiply-adds.
class ShardedAmount {
 public:
  /// Adds what every shard has.
  void add_whole(std::size_t amount) { whole_ += amount; }
  /// Adds units (heads, or panels of columns) that are dealt to the shards as part_of says.
  void add_divided(std::size_t n_units, std::size_t unit_amount);
  /// What a shard has.
  std::size_t of(Shard shard) const;

 private:
  struct Divided {
    std::size_t n_units, unit_amount;
  };

  std::size_t whole_ = 0;
  std::vector<Divided> divided_;  ///< One for each number of units.
};

/// What a block has of its own. The cache of a sparse block is CacheSizes, as all are alike.
struct BlockSizes {
  BlockKind kind = BlockKind::kRwkv;
  ShardedAmount weights = {};        ///< Bytes.
  ShardedAmount state = {};          ///< Bytes of token shifts and recurrent matrices.
  ShardedAmount multiply_adds = {};  ///< Of a row's products with the weights.
};

/// The cache of a sparse block when the context is full; all zero when none is kept.
struct CacheSizes {
  std::size_t chunk_bytes = 0;  ///< Keys and values of a chunk, all heads.
  std::size_t open_bytes = 0;   ///< Those of the rows after the last closed chunk.
  std::size_t mean_bytes = 0;   ///< Mean keys of a chunk, all heads.
};

/// What a query at the end of the context reads of a sparse block's cache.
struct AttendedRows {
  std::size_t recent_tokens = 0;  ///< From a chunk's first one to the newest.
  std::size_t n_chosen = 0;       ///< Closed chunks before them that each head chooses.
  std::size_t n_scored = 0;       ///< Closed chunks it chooses among.
  std::size_t row_bytes = 0;      ///< Of a key, or of a value, all heads.
};

/// What a rank computes in.
struct BufferSizes {
  std::size_t row_bytes =
      0;  ///< Rows of activations, of the longest step, and of a call of mode reference.
  std::size_t score_bytes = 0;  ///< Of a closed chunk, that a thread holds.
  std::size_t most_scored = 0;  ///< Closed chunks that are scored at a time.
  std::size_t logit_bytes = 0;  ///< Rows of logits and what they are computed from.
};

/// What decides memory and speed of a run. The sizes are those of the model's own tables of
/// tensors, states and buffers (model/run_sizes.hpp).
struct RunSizes {
  std::size_t vocab_size = 0;
  std::size_t n_embd = 0;          ///< C
  std::size_t n_head = 0;          ///< H
  std::size_t ffn_size = 0;        ///< F
  std::vector<BlockSizes> blocks;  ///< In execution order.
  ShardedAmount input, output;     ///< Bytes of weights before the first block, after the last one.
  std::size_t chunk_size = 0;      ///< Tokens.
  CacheSizes cache;                ///< Of each sparse block.
  AttendedRows attended;
  BufferSizes buffers;
  std::size_t context_tokens = 0;  ///< Prompt and continuation.
  std::size_t mapped_tokens = 0;   ///< The first ones, whose chunks lie in files.
  std::size_t mapped_bytes = 0;    ///< At most so many of those a rank holds in memory.
  std::size_t step_rows = 1;       ///< Rows of a prompt that are read in one step.
  std::size_t n_threads = 0;       ///< Of a rank.
};

/// Resident memory of a rank that has loaded nothing yet: the program with its libraries, and what
/// Open MPI adds when there are several ranks (measured: DECISIONS.md).
inline constexpr std::size_t kProgramBytes = 13'000'000;
inline constexpr std::size_t kMessagePassingBytes = 9'000'000;

/// Bytes by purpose.
struct MemoryNeed {
  std::size_t weights = 0;
  std::size_t states = 0;   ///< Of the recurrent blocks.
  std::size_t cache = 0;    ///< Keys and values.
  std::size_t means = 0;    ///< Mean keys of chunks.
  std::size_t buffers = 0;  ///< Activations and scratch.
  std::size_t program = 0;  ///< The program itself, its libraries and those of message passing.

  std::size_t total() const { return weights + states + cache + means + buffers + program; }
  MemoryNeed& operator+=(const MemoryNeed& other);
  bool operator==(const MemoryNeed&) const = default;
};

/// What a shard holds of one block: weights, state, cache and means.
MemoryNeed block_memory(const RunSizes& sizes, std::size_t block, Shard shard);

/// What a shard of a stage holds beside its blocks: the weights before the first block and after
/// the last one, buffers and the program.
MemoryNeed stage_memory(const RunSizes& sizes, Range blocks, Shard shard);

/// The resident memory of a rank when the context is full, pages of the checkpoint aside.
MemoryNeed memory_need(const RunSizes& sizes, Range blocks, Shard shard);

/// The same of a run of one rank.
MemoryNeed memory_need(const RunSizes& sizes);

}  // namespace longreach::partition
