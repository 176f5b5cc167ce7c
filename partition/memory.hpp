/// How much memory a run needs, from sizes alone. Pure arithmetic: knows neither files nor this
/// machine.
#pragma once

#include <cstddef>
#include <vector>

namespace longreach::partition {

/// What decides the memory of a run. Counts are of executed blocks.
struct RunSizes {
  std::size_t vocab_size = 0;
  std::size_t n_embd = 0;              ///< C
  std::size_t n_head = 0;              ///< H
  std::size_t ffn_size = 0;            ///< F
  std::size_t n_rwkv = 0;              ///< RWKV-7 blocks.
  std::size_t n_sparse = 0;            ///< Sparse-attention blocks.
  std::vector<std::size_t> low_ranks;  ///< All low ranks of all RWKV-7 blocks.
  std::size_t chunk_size = 0;          ///< Tokens.
  std::size_t bytes_per_weight = 0;    ///< Of a matrix element.
  std::size_t context_tokens = 0;      ///< Prompt and continuation.
  std::size_t slice_tokens = 0;        ///< Tokens that pass through a block together.
  std::size_t held_tokens = 0;  ///< Of the longest call whose hidden rows are held as a whole.
  std::size_t n_threads = 0;
};

/// Bytes by purpose.
struct MemoryNeed {
  std::size_t weights = 0;
  std::size_t states = 0;   ///< Of the recurrent blocks.
  std::size_t cache = 0;    ///< Keys, values and mean keys.
  std::size_t buffers = 0;  ///< Activations and scratch.

  std::size_t total() const { return weights + states + cache + buffers; }
};

/// The resident memory of a run when its context is full, file pages aside.
MemoryNeed memory_need(const RunSizes& sizes);

}  // namespace longreach::partition
