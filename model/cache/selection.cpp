#include "model/cache/selection.hpp"

#include "kernels/attention/attention.hpp"
#include "model/context.hpp"

#include <limits>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

constexpr GlobalChunk kNoChunk{std::numeric_limits<std::uint32_t>::max()};

/// The candidates of all shards: [shard][head][query][slot], filled up with kNoChunk.
struct CandidateTable {
  std::size_t n_heads, n_queries, n_slots;
  std::vector<Candidate>& all;

  std::span<Candidate> of(std::size_t shard, std::size_t head, std::size_t query) const {
    const std::size_t index = (shard * n_heads + head) * n_queries + query;
    return std::span(all).subspan(index * n_slots, n_slots);
  }
  std::size_t shard_bytes() const { return n_heads * n_queries * n_slots * sizeof(Candidate); }
};

/// Of some consecutive queries those of one segment.
struct QueryRun {
  const KvCache* cache;
  std::size_t first, count;
  std::size_t n_scored;  ///< Local chunks that the last one may choose from, or 0.
};

/// The runs of the queries in `queries`, in order.
std::vector<QueryRun> runs_of(const Selection& selection, partition::Range queries) {
  std::vector<QueryRun> runs;
  for (const SegmentCache& segment : selection.segments()) {
    const std::size_t begin = std::max(segment.first_row, queries.begin);
    const std::size_t end = std::min(segment.first_row + segment.n_rows, queries.end);
    if (begin >= end) continue;
    // Later queries have as many chunks to choose from, or more.
    const std::size_t last = end - 1;
    runs.push_back(
        {segment.cache, begin, end - begin,
         selection.chooses(last) ? segment.cache->own_chunks(selection.n_closed(last)) : 0});
  }
  return runs;
}

static_assert(kScoredChunks % ChunkIndex::kPieceChunks == 0);

/// scores [queries, chunks]: of one head's queries, of which q [queries, 64] are those from `first`
/// on, with as many local chunks from first_chunk on, or fewer where a run has not so many.
/// Neighbouring runs whose caches share a piece of the index share its reading.
void score_runs(std::span<const QueryRun> runs, std::size_t head, std::size_t first,
                MatView<const float> q, std::size_t first_chunk, MatView<float> scores) {
  for (std::size_t col = 0; col < scores.cols(); col += ChunkIndex::kPieceChunks) {
    const std::size_t begin = first_chunk + col, piece = begin / ChunkIndex::kPieceChunks;
    for (auto run = runs.begin(); run != runs.end();) {
      if (run->n_scored <= begin) {
        ++run;
        continue;
      }
      const ChunkIndex& index = run->cache->index();
      std::size_t n_queries = 0, n_scored = 0;
      auto end = run;
      do {
        n_queries += end->count;
        n_scored = std::max(n_scored, end->n_scored);
        ++end;
      } while (end != runs.end() && end->n_scored > begin &&
               end->cache->index().piece_identity(piece) == index.piece_identity(piece));
      const std::size_t n_chunks = std::min(n_scored - begin, ChunkIndex::kPieceChunks);
      index.score(head, piece, q.rows(run->first - first, n_queries),
                  scores.rows(run->first - first, n_queries).cols(col, n_chunks));
      run = end;
    }
  }
}

/// Puts the k best to the front, the best first, or all of them: higher scores win, then lower
/// chunks. Returns how many there are then.
std::size_t put_best_first(std::span<Candidate> candidates, std::size_t k) {
  const std::size_t n = std::min(candidates.size(), k);
  const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(n);
  std::partial_sort(candidates.begin(), middle, candidates.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.score > b.score || (a.score == b.score && a.chunk < b.chunk);
                    });
  return n;
}

void add_valid(std::span<const Candidate> more, std::vector<Candidate>& candidates) {
  std::ranges::copy_if(more, std::back_inserter(candidates),
                       [](const Candidate& c) { return c.chunk != kNoChunk; });
}

/// The best of a query's scores with local chunks from first_chunk on, and of what `best` holds.
void local_top_k(const KvCache& cache, std::size_t first_chunk, std::span<const float> scores,
                 WorkerScratch& scratch, std::span<Candidate> best) {
  std::vector<std::uint32_t>& chosen = scratch.chosen;
  std::vector<Candidate>& candidates = scratch.candidates;
  chosen.resize(std::min(best.size(), scores.size()));
  const std::size_t n = kernels::choose_chunks(scores, chosen.size(), chosen);
  candidates.clear();
  add_valid(best, candidates);
  for (std::size_t i = 0; i < n; ++i) {
    const auto chunk = static_cast<std::uint32_t>(first_chunk + chosen[i]);
    candidates.push_back({scores[chosen[i]], cache.global_chunk(LocalChunk{chunk})});
  }
  std::copy_n(candidates.begin(), put_best_first(candidates, best.size()), best.begin());
}

/// Proposes this shard's best chunks for a head's queries in `queries`.
void propose(const Selection& selection, std::size_t head, partition::Range queries,
             MatView<const float> q, const CandidateTable& table, std::size_t shard,
             WorkerScratch& scratch) {
  const std::vector<QueryRun> runs = runs_of(selection, queries);
  const std::size_t n_most = std::ranges::max(runs, {}, &QueryRun::n_scored).n_scored;
  if (n_most == 0) return;
  const auto own_q = q.rows(queries.begin, queries.size()).cols(head * kHeadSize, kHeadSize);
  // Rows that lie a power of two apart would share few sets of a cache.
  const std::size_t stride = std::min(n_most, kScoredChunks) + 16;
  scratch.scores.resize(queries.size() * stride);
  for (std::size_t first = 0; first < n_most; first += kScoredChunks) {
    const std::size_t n_chunks = std::min(n_most - first, kScoredChunks);
    const MatView<float> scores(scratch.scores.data(), queries.size(), n_chunks, stride);
    score_runs(runs, head, queries.begin, own_q, first, scores);
    for (std::size_t i = queries.begin; i < queries.end; ++i) {
      if (!selection.chooses(i)) continue;
      const KvCache& cache = selection.cache(i);
      const std::size_t n_own = cache.own_chunks(selection.n_closed(i));
      if (n_own <= first) continue;
      local_top_k(cache, first,
                  scores.row(i - queries.begin).first(std::min(n_own - first, n_chunks)), scratch,
                  table.of(shard, head, i));
    }
  }
}

/// Chooses for a head's query among what all shards propose.
void merge_top_k(Selection& selection, std::size_t head, std::size_t query,
                 const CandidateTable& table, std::size_t n_shards,
                 std::vector<Candidate>& candidates) {
  candidates.clear();
  for (std::size_t s = 0; s < n_shards; ++s) add_valid(table.of(s, head, query), candidates);
  selection.choose(head, query, candidates);
}

}  // namespace

void Selection::reset(std::span<const SegmentCache> segments, std::size_t n_heads,
                      std::size_t chunk_size) {
  chunk_size_ = chunk_size;
  n_heads_ = n_heads;
  n_chunks_ = n_slots_ = most_closed_ = 0;
  segments_.assign(segments.begin(), segments.end());
  queries_.clear();
}

void Selection::add_query(const KvCache& cache, std::size_t row, AttentionSpan span) {
  queries_.push_back({&cache, row, span});
  n_chunks_ = std::max(n_chunks_, row / chunk_size_ + 1);
  if (!chooses(n_queries() - 1)) return;
  n_slots_ = std::max(n_slots_, span.n_chosen);
  most_closed_ = std::max(most_closed_, n_closed(n_queries() - 1));
}

void Selection::choose(std::size_t head, std::size_t query, std::span<Candidate> candidates) {
  const std::size_t index = head * n_queries() + query;
  const std::size_t n = put_best_first(candidates, span(query).n_chosen);
  const auto to = chunks_.begin() + static_cast<std::ptrdiff_t>(index * n_slots_);
  std::transform(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(n), to,
                 [](const Candidate& c) { return c.chunk; });
  std::sort(to, to + static_cast<std::ptrdiff_t>(n));
  counts_[index] = static_cast<std::uint32_t>(n);
}

void select_chunks(Context& context, MatView<const float> q) {
  Selection& selection = context.workspace.selection;
  if (selection.n_slots() == 0) return;
  const partition::Shard own = context.exchange.shard();
  const std::size_t n_queries = selection.n_queries();
  const std::size_t n_slots =
      std::min(selection.n_slots(), partition::chunks_of(selection.most_closed(), {0, own.count}));
  const CandidateTable table{selection.n_heads(), n_queries, n_slots, context.workspace.candidates};
  table.all.assign(own.count * table.shard_bytes() / sizeof(Candidate), {0, kNoChunk});
  const std::size_t n_groups = (n_queries + kGroupQueries - 1) / kGroupQueries;
  const auto for_groups = [&](auto&& body) {
    context.pool.for_each(
        selection.n_heads() * n_groups, [&](std::size_t task, std::size_t worker) {
          const std::size_t first = task % n_groups * kGroupQueries;
          const partition::Range queries{first, std::min(first + kGroupQueries, n_queries)};
          body(task / n_groups, queries, context.workspace.workers[worker]);
        });
  };
  const auto choose = [&](std::size_t head, partition::Range queries, WorkerScratch& scratch) {
    for (std::size_t i = queries.begin; i < queries.end; ++i) {
      if (selection.chooses(i)) {
        merge_top_k(selection, head, i, table, own.count, scratch.candidates);
      }
    }
  };
  for_groups([&](std::size_t head, partition::Range queries, WorkerScratch& scratch) {
    propose(selection, head, queries, q, table, own.index, scratch);
    if (own.count == 1) choose(head, queries, scratch);
  });
  if (own.count > 1) {
    std::vector<partition::Range> parts;
    for (std::size_t s = 0; s < own.count; ++s) {
      parts.push_back({s * table.shard_bytes(), (s + 1) * table.shard_bytes()});
    }
    context.exchange.all_gather(Traffic::kCandidates, std::as_writable_bytes(std::span(table.all)),
                                parts);
    for_groups(choose);
  }
  for (std::size_t head = 0; head < selection.n_heads(); ++head) {
    for (std::size_t i = 0; i < n_queries; ++i) {
      if (selection.chooses(i)) {
        context.observer->see_choice(head, i, selection.chosen(head, i));
      }
    }
  }
}

}  // namespace longreach::model
