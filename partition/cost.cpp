#include "partition/cost.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

namespace longreach::partition {
namespace {

constexpr std::size_t kFloat = sizeof(float);

/// Of a row with n_bytes in messages that step_rows share.
double seconds(const Link& link, std::size_t n_messages, std::size_t step_rows,
               std::size_t n_bytes) {
  return static_cast<double>(n_messages) / static_cast<double>(step_rows) * link.latency_seconds +
         static_cast<double>(n_bytes) / link.bytes_per_second;
}

/// Bytes of keys, values and means that the slowest shard reads. Shards are counted from the one
/// that keeps the first of the recent chunks.
std::size_t attended_bytes(const RunSizes& s, Shard shard) {
  const std::size_t recent = tokens_of(s.attended.recent_tokens, s.chunk_size, shard);
  const std::size_t chosen = (s.attended.n_chosen * s.chunk_size + shard.count - 1) / shard.count;
  const std::size_t means = chunks_of(s.attended.n_scored, shard);
  return 2 * (recent + chosen) * s.attended.row_bytes + means * s.cache.mean_bytes;
}

/// Of a query at the end of the context: scores and sums over the rows it sees, and scores of
/// means.
std::size_t attention_multiply_adds(const RunSizes& s, Shard shard) {
  const std::size_t n_rows = s.attended.recent_tokens + s.attended.n_chosen * s.chunk_size;
  const std::size_t head_size = s.n_embd / s.n_head;
  return heads_of(s.n_head, shard).size() * head_size * (2 * n_rows + s.attended.n_scored);
}

}  // namespace

std::string_view name_of(Bound bound) {
  switch (bound) {
    case Bound::kMemory:
      return "memory";
    case Bound::kArithmetic:
      return "arithmetic";
    case Bound::kThreads:
      return "threads";
    case Bound::kExchange:
      return "exchange";
    case Bound::kTransfer:
      return "transfer";
  }
  return "?";
}

Bound RowTime::bound() const {
  const std::array<std::pair<double, Bound>, 5> parts{{{read, Bound::kMemory},
                                                       {arithmetic, Bound::kArithmetic},
                                                       {waiting, Bound::kThreads},
                                                       {exchange, Bound::kExchange},
                                                       {transfer, Bound::kTransfer}}};
  return std::ranges::max_element(parts, {}, &std::pair<double, Bound>::first)->second;
}

std::size_t block_reads(const RunSizes& sizes, std::size_t block, std::size_t n_shards) {
  const Shard slowest{0, n_shards};
  const MemoryNeed held = block_memory(sizes, block, slowest);
  const std::size_t read_and_written = 2 * held.states;
  const bool has_cache = sizes.blocks[block].kind == BlockKind::kSparse;
  return held.weights + read_and_written + (has_cache ? attended_bytes(sizes, slowest) : 0);
}

std::size_t block_multiply_adds(const RunSizes& sizes, std::size_t block, std::size_t n_shards) {
  const Shard slowest{0, n_shards};
  const BlockSizes& own = sizes.blocks[block];
  const bool attends = own.kind == BlockKind::kSparse;
  return own.multiply_adds.of(slowest) + (attends ? attention_multiply_adds(sizes, slowest) : 0);
}

double block_exchange(const RunSizes& sizes, std::size_t block, std::size_t n_shards,
                      const Link& link, std::size_t step_rows) {
  if (n_shards == 1) return 0;
  // Rows: the heads' vectors, the projected ones, the channel mix's hidden and final ones.
  std::size_t n_gatherings = 4;
  std::size_t n_numbers = 3 * sizes.n_embd + sizes.ffn_size;
  if (sizes.blocks[block].kind == BlockKind::kSparse) {
    const AttendedRows& rows = sizes.attended;
    const std::size_t n_recent = (rows.recent_tokens + sizes.chunk_size - 1) / sizes.chunk_size;
    const std::size_t head_size = sizes.n_embd / sizes.n_head;
    // Queries, keys and values in place of the heads' vectors, which partials become.
    n_gatherings += 2;
    n_numbers += 2 * sizes.n_embd;
    // Candidates are a score and a chunk; partials a maximum, a weight and a vector.
    n_numbers += sizes.n_head * rows.n_chosen * n_shards * 2;
    n_numbers += sizes.n_head * (rows.n_chosen + n_recent) * (head_size + 2);
  }
  const auto n_rounds = static_cast<std::size_t>(std::bit_width(n_shards - 1));
  const std::size_t n_received = n_numbers * kFloat * (n_shards - 1) / n_shards;
  return seconds(link, n_gatherings * n_rounds, step_rows, n_received);
}

double job_waiting(std::size_t n_jobs, std::size_t n_threads, std::size_t step_rows) {
  return static_cast<double>(n_jobs) / static_cast<double>(step_rows) *
         std::log2(static_cast<double>(n_threads)) * kJobSeconds;
}

double stage_transfer(const RunSizes& sizes, const Link& link, std::size_t step_rows) {
  return seconds(link, 1, step_rows, 2 * sizes.n_embd * kFloat);
}

}  // namespace longreach::partition
