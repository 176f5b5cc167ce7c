/// How much memory a run needs, from sizes alone: of one rank or of any part of a grid. Pure
/// arithmetic: knows neither files nor this machine.
#pragma once

#include "kernels/base/types.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <vector>

namespace longreach::partition {

/// The two kinds of blocks. Both are followed by a channel mix inside the same block.
enum class BlockKind { kRwkv, kSparse };

/// What a block has beside the sizes that all blocks share.
struct BlockSizes {
  BlockKind kind = BlockKind::kRwkv;
  std::vector<std::size_t> low_ranks = {};  ///< Of an RWKV-7 block.
};

/// What decoding a token at the end of the context reads of a sparse block's cache.
struct AttendedRows {
  std::size_t recent_tokens = 0;  ///< From a chunk's first one to the newest.
  std::size_t n_chosen = 0;       ///< Closed chunks before them that each head chooses.
  std::size_t n_scored = 0;       ///< Closed chunks it chooses among.
};

/// What decides the memory of a run.
struct RunSizes {
  std::size_t vocab_size = 0;
  std::size_t n_embd = 0;          ///< C
  std::size_t n_head = 0;          ///< H
  std::size_t ffn_size = 0;        ///< F
  std::vector<BlockSizes> blocks;  ///< In execution order.
  std::size_t chunk_size = 0;      ///< Tokens.
  AttendedRows attended;
  base::WeightFormat weights = base::WeightFormat::kF32;  ///< Of matrices.
  base::KvFormat kv = base::KvFormat::kF32;               ///< Of keys and values; means are f32.
  std::size_t context_tokens = 0;                         ///< Prompt and continuation.
  std::size_t slice_tokens = 0;  ///< Tokens that pass through a block together.
  std::size_t held_tokens = 0;   ///< Of the longest call whose hidden rows are held as a whole.
  std::size_t n_threads = 0;     ///< Of a rank.
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

/// What a shard holds of one block: weights, state, cache and means. Matrices are divided by output
/// columns, those that make a head's vectors by heads; vectors, the first factors of low-rank pairs
/// and the token shifts' states are whole in every shard, as every shard needs whole rows.
MemoryNeed block_memory(const RunSizes& sizes, std::size_t block, Shard shard);

/// What a shard of a stage holds beside its blocks: the norm before the first block and after the
/// last one, the head with the latter, buffers and the program.
MemoryNeed stage_memory(const RunSizes& sizes, Range blocks, Shard shard);

/// The resident memory of a rank when the context is full, pages of the checkpoint aside.
MemoryNeed memory_need(const RunSizes& sizes, Range blocks, Shard shard);

/// The same of a run of one rank.
MemoryNeed memory_need(const RunSizes& sizes);

}  // namespace longreach::partition
