#include "partition/memory.hpp"

#include <algorithm>

namespace longreach::partition {
namespace {

constexpr std::size_t kFloat = sizeof(float);
constexpr std::size_t kPanel = 32;         // columns of a weight panel, rows of a key panel
constexpr std::size_t kLogitRows = 16;     // positions whose logits are computed together
constexpr std::size_t kGroupQueries = 64;  // queries whose chunk scores are held by a thread

std::size_t padded(std::size_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

std::size_t weight_bytes(const RunSizes& s) {
  const std::size_t c = s.n_embd;
  const std::size_t channel_mix = c * padded(s.ffn_size) + s.ffn_size * padded(c);
  const std::size_t projections = 4 * c * padded(c);
  std::size_t elements =
      (s.n_rwkv + s.n_sparse) * (channel_mix + projections) + c * padded(s.vocab_size);
  for (const std::size_t rank : s.low_ranks) elements += c * padded(rank) + rank * padded(c);
  // Vectors of C: per RWKV block 7 shifts, 3 biases, 3 scales and 3 norms; per sparse block 1 and 2
  // norms.
  const std::size_t vectors = 19 * s.n_rwkv + 5 * s.n_sparse + 4;
  return elements * s.bytes_per_weight + vectors * c * kFloat;
}

std::size_t state_bytes(const RunSizes& s) {
  const std::size_t matrix = s.n_embd / s.n_head * s.n_embd;
  return (s.n_rwkv * (matrix + 2 * s.n_embd) + s.n_sparse * s.n_embd) * kFloat;
}

std::size_t cache_bytes(const RunSizes& s) {
  if (s.n_sparse == 0) return 0;
  const std::size_t closed = s.context_tokens / s.chunk_size;
  const std::size_t key_rows =
      closed * padded(s.chunk_size) + padded(s.context_tokens % s.chunk_size);
  return s.n_sparse * (key_rows + s.context_tokens + padded(closed)) * s.n_embd * kFloat;
}

std::size_t buffer_bytes(const RunSizes& s) {
  const std::size_t largest_rank =
      s.low_ranks.empty() ? 0 : *std::max_element(s.low_ranks.begin(), s.low_ranks.end());
  const std::size_t slice = std::min(s.slice_tokens, s.context_tokens);
  const std::size_t n_held = std::max(slice, s.held_tokens);
  const std::size_t rows =
      slice * (10 * s.n_embd + s.ffn_size + largest_rank) + n_held * 2 * s.n_embd;
  const std::size_t logits = kLogitRows * (s.vocab_size + s.n_embd);
  const std::size_t scores =
      s.n_sparse == 0 ? 0 : s.n_threads * kGroupQueries * (s.context_tokens / s.chunk_size);
  return (rows + logits + scores) * kFloat;
}

}  // namespace

MemoryNeed memory_need(const RunSizes& sizes) {
  return {weight_bytes(sizes), state_bytes(sizes), cache_bytes(sizes), buffer_bytes(sizes)};
}

}  // namespace longreach::partition
