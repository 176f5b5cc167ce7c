#include "model/sparse_attention.hpp"

#include "kernels/attention.hpp"
#include "kernels/matrix.hpp"
#include "kernels/rows.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

/// Queries of one head that are treated together: they share the reading of the chunks they see.
constexpr std::size_t kGroupQueries = 64;

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

/// The chunks that a query sees besides the rows from its sight's first one on. `scores` holds
/// those of the n_closed chunks before it; unused when there are no more than it may choose.
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

/// Queries of one head: q [n, 64], of cache rows first_row on.
struct Group {
  std::size_t head;
  std::size_t first_row;
  MatView<const float> q;
};

/// Lists what each query of a group sees, by rising chunk.
void find_sightings(const Context& context, const CallRows& call, const KvCache& cache,
                    const Group& group, std::span<const std::uint32_t> shared_choice,
                    WorkerScratch& scratch) {
  const std::size_t n = group.q.rows(), chunk_size = cache.chunk_size();
  const Sight last_sight = sight_of(context.attention, call, group.first_row + n - 1);
  const std::size_t n_scored = last_sight.first_row / chunk_size;
  if (last_sight.chooser == Chooser::kEachHead && n_scored > last_sight.n_chosen) {
    scratch.scores.resize(n * n_scored);
    cache.score_chunks(group.head, group.q, {scratch.scores.data(), n, n_scored});
  }
  scratch.sightings.clear();
  const auto add = [&](std::size_t chunk, std::size_t first, std::size_t query, std::size_t last) {
    scratch.sightings.push_back(
        {static_cast<std::uint32_t>(chunk), static_cast<std::uint32_t>(first),
         static_cast<std::uint32_t>(query), static_cast<std::uint32_t>(last)});
  };
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t row = group.first_row + i;
    const Sight sight = sight_of(context.attention, call, row);
    std::span<const std::uint32_t> chosen = shared_choice;
    if (sight.chooser == Chooser::kEachHead) {
      const std::size_t n_closed = sight.first_row / chunk_size;
      const std::span<const float> scores(scratch.scores);
      chosen =
          choose(sight, n_closed, n_closed > sight.n_chosen ? scores.subspan(i * n_scored) : scores,
                 scratch.chosen);
    }
    for (const std::uint32_t chunk : chosen) add(chunk, 0, i, chunk_size);
    for (std::size_t chunk = sight.first_row / chunk_size; chunk * chunk_size <= row; ++chunk) {
      const std::size_t begin = chunk * chunk_size;
      add(chunk, std::max(sight.first_row, begin) - begin, i,
          std::min(row + 1 - begin, chunk_size));
    }
  }
  // Also brings together queries that see a chunk from the same row on, the shorter sight first.
  std::ranges::sort(scratch.sightings);
}

/// Attention of a group of queries. Chunks are met in rising order, each once for all queries that
/// see it.
void attend_group(const Context& context, const CallRows& call, const KvCache& cache,
                  const Group& group, std::span<const std::uint32_t> shared_choice,
                  WorkerScratch& scratch, MatView<float> out) {
  find_sightings(context, call, cache, group, shared_choice, scratch);
  scratch.totals.assign(group.q.rows(), {});
  for (auto begin = scratch.sightings.begin(); begin != scratch.sightings.end();) {
    const auto end = std::find_if(begin, scratch.sightings.end(), [&](const Sighting& s) {
      return s.chunk != begin->chunk || s.first != begin->first;
    });
    const std::span<const Sighting> same(begin, end);
    scratch.queries.clear();
    scratch.last.clear();
    for (const Sighting& sighting : same) {
      const auto q = group.q.row(sighting.query);
      scratch.queries.insert(scratch.queries.end(), q.begin(), q.end());
      scratch.last.push_back(sighting.last);
    }
    scratch.partials.resize(same.size());
    kernels::attend({scratch.queries.data(), same.size(), kHeadSize},
                    cache.rows(same[0].chunk, group.head), same[0].first, scratch.last,
                    scratch.partials);
    for (std::size_t i = 0; i < same.size(); ++i) {
      kernels::merge(scratch.totals[same[i].query], scratch.partials[i]);
    }
    begin = end;
  }
  for (std::size_t i = 0; i < group.q.rows(); ++i) kernels::finish(scratch.totals[i], out.row(i));
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
  const std::size_t n_groups = (n + kGroupQueries - 1) / kGroupQueries;
  pool.for_each(context.config.n_head * n_groups, [&](std::size_t task, std::size_t worker) {
    const std::size_t head = task / n_groups, first = task % n_groups * kGroupQueries;
    const auto part = [&](MatView<float> rows) {
      return rows.rows(first, std::min(kGroupQueries, n - first)).cols(head * kHeadSize, kHeadSize);
    };
    attend_group(context, call, state.cache, {head, first_row + first, part(q)}, shared_choice,
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
