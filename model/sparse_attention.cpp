#include "model/sparse_attention.hpp"

#include "kernels/attention.hpp"
#include "kernels/matrix.hpp"
#include "kernels/rows.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

/// Queries of one head that share a pass over the mean keys.
constexpr std::size_t kTileQueries = 6;

/// Who chooses among the closed chunks before first_row.
enum class Chooser { kNobody, kEachHead, kAllHeads };

/// What a query sees: n_chosen closed chunks, and all rows from first_row up to its own.
struct Sight {
  std::size_t first_row;
  Chooser chooser = Chooser::kNobody;
  std::size_t n_chosen = 0;
};

Sight reference_sight(const AttentionConfig& config, const CallRows& call, std::size_t row) {
  const std::size_t window = config.chunk_size * config.top_k;
  if (call.n_tokens > 1) {
    if (call.first_row + call.n_tokens <= window) return {0};
    // Chunks are counted from the call's first token and the cache is ignored.
    return {row - (row - call.first_row) % config.chunk_size};
  }
  if (row <= window || config.decode_full) return {0};
  return {row - row % config.chunk_size, Chooser::kAllHeads, config.top_k};
}

/// What the query of that cache row sees (model-spec sections 4.1 to 4.3).
Sight sight_of(const AttentionConfig& config, const CallRows& call, std::size_t row) {
  switch (config.mode) {
    case AttentionMode::kMoba:
      return {row - row % config.chunk_size, Chooser::kEachHead, config.top_k - 1};
    case AttentionMode::kFull:
      return {0};
    case AttentionMode::kReference:
      return reference_sight(config, call, row);
  }
  return {0};
}

/// The chunks that the query of `row` sees besides the rows from its sight's first one on. `scores`
/// holds those of all closed chunks before it; unused when there are no more than it may choose.
std::span<const std::uint32_t> choose(const Sight& sight, std::size_t n_closed,
                                      std::span<const float> scores,
                                      std::vector<std::uint32_t>& chosen) {
  chosen.resize(std::min(sight.n_chosen, n_closed));
  if (n_closed <= sight.n_chosen) {
    for (std::size_t i = 0; i < n_closed; ++i) chosen[i] = static_cast<std::uint32_t>(i);
    return chosen;
  }
  return std::span(chosen).first(
      kernels::choose_chunks(scores.first(n_closed), sight.n_chosen, chosen));
}

/// out = attention of one head's query over the chosen chunks and rows first_row .. row.
void attend_query(const KvCache& cache, std::size_t head, std::span<const float> q,
                  std::span<const std::uint32_t> chosen, std::size_t first_row, std::size_t row,
                  std::span<float> out) {
  const std::size_t chunk_size = cache.chunk_size();
  kernels::Partial total;
  for (const std::uint32_t chunk : chosen) {
    kernels::merge(total, kernels::attend(q, cache.rows(chunk, head), 0, chunk_size));
  }
  for (std::size_t chunk = first_row / chunk_size; chunk * chunk_size <= row; ++chunk) {
    const std::size_t begin = chunk * chunk_size;
    kernels::merge(total,
                   kernels::attend(q, cache.rows(chunk, head), std::max(first_row, begin) - begin,
                                   std::min(row + 1 - begin, chunk_size)));
  }
  kernels::finish(total, out);
}

/// One head's attention for queries q [n, 64] of rows first_row .. first_row + n - 1, each head
/// choosing for itself.
void attend_tile(const Context& context, const CallRows& call, const KvCache& cache,
                 std::size_t head, MatView<const float> q, std::size_t first_row,
                 std::span<const std::uint32_t> shared_choice, WorkerScratch& scratch,
                 MatView<float> out) {
  const std::size_t last_row = first_row + q.rows() - 1;
  const Sight last_sight = sight_of(context.attention, call, last_row);
  const std::size_t n_scored = last_sight.first_row / cache.chunk_size();
  if (last_sight.chooser == Chooser::kEachHead && n_scored > last_sight.n_chosen) {
    scratch.scores.resize(q.rows() * n_scored);
    cache.score_chunks(head, q, {scratch.scores.data(), q.rows(), n_scored});
  }
  for (std::size_t i = 0; i < q.rows(); ++i) {
    const Sight sight = sight_of(context.attention, call, first_row + i);
    std::span<const std::uint32_t> chosen = shared_choice;
    if (sight.chooser == Chooser::kEachHead) {
      const std::size_t n_closed = sight.first_row / cache.chunk_size();
      const std::span<const float> scores(scratch.scores);
      chosen =
          choose(sight, n_closed, n_closed > sight.n_chosen ? scores.subspan(i * n_scored) : scores,
                 scratch.chosen);
    }
    attend_query(cache, head, q.row(i), chosen, sight.first_row, first_row + i, out.row(i));
  }
}

/// The chunks that all heads of the newest row's query share: scores are summed over the heads.
std::span<const std::uint32_t> choose_for_all_heads(Context& context, const Sight& sight,
                                                    const KvCache& cache, MatView<const float> q) {
  WorkerScratch& scratch = context.workspace.workers[0];
  const std::size_t n_closed = sight.first_row / cache.chunk_size();
  std::vector<float> sums(n_closed), scores(n_closed);
  for (std::size_t head = 0; head < context.config.n_head; ++head) {
    cache.score_chunks(head, q.cols(head * kHeadSize, kHeadSize), {scores.data(), 1, n_closed});
    kernels::add(scores, sums);
  }
  return choose(sight, n_closed, sums, scratch.chosen);
}

}  // namespace

void sparse_attention(Context& context, const SparseBlockWeights& weights, const CallRows& call,
                      MatView<const float> x, SparseState& state, MatView<float> out) {
  kernels::ThreadPool& pool = context.pool;
  const std::size_t n = x.rows();
  const auto q = context.workspace.r.first(n), k = context.workspace.k.first(n),
             v = context.workspace.v.first(n), y = context.workspace.y.first(n);
  kernels::multiply(pool, x, weights.receptance, q);
  kernels::multiply(pool, x, weights.key, k);
  kernels::multiply(pool, x, weights.value, v);

  const std::size_t first_row = state.cache.size();
  state.cache.append(k, v, pool);

  std::span<const std::uint32_t> shared_choice;
  const Sight first_sight = sight_of(context.attention, call, first_row);
  if (first_sight.chooser == Chooser::kAllHeads) {
    shared_choice = choose_for_all_heads(context, first_sight, state.cache, q);
  }
  const std::size_t n_tiles = (n + kTileQueries - 1) / kTileQueries;
  pool.for_each(context.config.n_head * n_tiles, [&](std::size_t task, std::size_t worker) {
    const std::size_t head = task / n_tiles, tile = task % n_tiles * kTileQueries;
    const std::size_t n_queries = std::min(kTileQueries, n - tile);
    const auto part = [&](MatView<float> rows) {
      return rows.rows(tile, n_queries).cols(head * kHeadSize, kHeadSize);
    };
    attend_tile(context, call, state.cache, head, part(q), first_row + tile, shared_choice,
                context.workspace.workers[worker], part(y));
  });
  kernels::multiply(pool, y, weights.output, out);
}

partition::AttendedRows attended_rows(const AttentionConfig& config, std::size_t n_rows) {
  const Sight sight = sight_of(config, {n_rows, 1}, n_rows);
  const std::size_t n_closed = sight.first_row / config.chunk_size;
  return {.recent_tokens = n_rows - sight.first_row,
          .n_chosen = std::min(sight.n_chosen, n_closed),
          .n_scored = n_closed > sight.n_chosen ? n_closed : 0};
}

std::size_t attended_bytes(const AttentionConfig& config, std::size_t n_rows) {
  const partition::AttendedRows rows = attended_rows(config, n_rows);
  const std::size_t n_attended = rows.n_chosen * config.chunk_size + rows.recent_tokens;
  return (2 * n_attended + rows.n_scored) * kHeadSize * sizeof(float);
}

}  // namespace longreach::model
