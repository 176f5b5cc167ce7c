/// The choice of chunks: every shard scores the queries against the index entries of its own closed
/// chunks and sends its best; all of them merge these alike.
#pragma once

#include "kernels/base/view.hpp"
#include "model/cache/attention_span.hpp"
#include "model/cache/kv_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longreach::model {

struct Context;

/// That a query of the step sees rows first .. last-1 of a chunk.
struct ChunkVisit {
  GlobalChunk chunk;
  std::uint64_t chunk_id;  ///< Equal for chunks that sequences share.
  std::uint32_t first, last, query;
  auto operator<=>(const ChunkVisit&) const = default;
};

/// A closed chunk that a shard proposes for a query. Sent as it lies.
struct Candidate {
  float score;
  GlobalChunk chunk;
};

/// Where a segment's i-th row is in its cache, if all its rows have just been appended.
struct NewestRow {
  std::size_t operator()(const SegmentCache& segment, std::size_t i) const {
    return segment.cache->size() - segment.n_rows + i;
  }
};

/// What the queries of a step see, in all heads. Query i is that of the step's row i, or of the
/// i-th of the rows that have one.
class Selection {
 public:
  /// The queries are those of rows of these caches, to which they have been appended: by default
  /// of the newest ones, else of row_of(segment, i), ascending. span_of(row) says what the query
  /// of a cache row sees.
  template <typename SpanOf, typename RowOf = NewestRow>
  void begin(std::span<const SegmentCache> segments, std::size_t n_heads, std::size_t chunk_size,
             SpanOf&& span_of, RowOf&& row_of = {}) {
    reset(segments, n_heads, chunk_size);
    for (const SegmentCache& segment : segments) {
      for (std::size_t i = 0; i < segment.n_rows; ++i) {
        const std::size_t row = row_of(segment, i);
        add_query(*segment.cache, row, span_of(row));
      }
    }
    chunks_.resize(n_heads_ * n_queries() * n_slots_);
    counts_.assign(n_heads_ * n_queries(), 0);
  }

  std::size_t n_queries() const { return queries_.size(); }
  std::size_t n_heads() const { return n_heads_; }
  std::size_t chunk_size() const { return chunk_size_; }
  std::span<const SegmentCache> segments() const { return segments_; }

  const KvCache& cache(std::size_t query) const { return *queries_[query].cache; }
  const AttentionSpan& span(std::size_t query) const { return queries_[query].span; }
  /// Most chunks that hold rows of any of the caches.
  std::size_t n_chunks() const { return n_chunks_; }
  /// Closed chunks before the rows that a query sees in any case.
  std::size_t n_closed(std::size_t query) const { return span(query).first_row / chunk_size_; }
  /// Whether a query has more chunks to choose from than it may.
  bool chooses(std::size_t query) const { return n_closed(query) > span(query).n_chosen; }
  /// Most chunks that a query that chooses may choose, and most that one may choose from.
  std::size_t n_slots() const { return n_slots_; }
  std::size_t most_closed() const { return most_closed_; }

  /// The chunks chosen for a query, ascending; for a query that chooses.
  std::span<const GlobalChunk> chosen(std::size_t head, std::size_t query) const {
    const std::size_t index = head * n_queries() + query;
    return {chunks_.data() + index * n_slots_, counts_[index]};
  }
  /// Keeps the best of the candidates for a query, which are reordered: higher scores win, then
  /// lower chunks.
  void choose(std::size_t head, std::size_t query, std::span<Candidate> candidates);

  /// Calls visit(chunk, first, last) for the rows first .. last-1 that a query sees of each of the
  /// chunks in `chunks`, by rising chunk.
  template <typename Visit>
  void for_each_chunk(std::size_t head, std::size_t query, partition::Range chunks,
                      Visit&& visit) const {
    const std::size_t row = queries_[query].row, first_row = span(query).first_row;
    if (chooses(query)) {
      for (const GlobalChunk chunk : chosen(head, query)) {
        if (chunks.contains(number_of(chunk))) visit(chunk, 0, chunk_size_);
      }
    } else {
      for (std::size_t chunk = chunks.begin; chunk < std::min(chunks.end, n_closed(query));
           ++chunk) {
        visit(GlobalChunk(chunk), 0, chunk_size_);
      }
    }
    for (std::size_t chunk = std::max(chunks.begin, first_row / chunk_size_);
         chunk < chunks.end && chunk * chunk_size_ <= row; ++chunk) {
      const std::size_t begin = chunk * chunk_size_;
      visit(GlobalChunk(chunk), std::max(first_row, begin) - begin,
            std::min(row + 1 - begin, chunk_size_));
    }
  }

 private:
  struct Query {
    const KvCache* cache;
    std::size_t row;  ///< Of the cache.
    AttentionSpan span;
  };

  void reset(std::span<const SegmentCache> segments, std::size_t n_heads, std::size_t chunk_size);
  void add_query(const KvCache& cache, std::size_t row, AttentionSpan span);

  std::size_t chunk_size_ = 1, n_heads_ = 0, n_chunks_ = 0, n_slots_ = 0, most_closed_ = 0;
  std::vector<SegmentCache> segments_;
  std::vector<Query> queries_;
  std::vector<GlobalChunk> chunks_;    ///< [head][query][slot]
  std::vector<std::uint32_t> counts_;  ///< [head][query]
};

/// Scores the queries q [T, H * 64] of the workspace's selection, which has begun, against all
/// closed chunks that they may choose, and chooses for them. Scores against entries that caches
/// share are computed together where their segments are neighbours in the step. NaN never wins.
/// Collective: all shards, with whole rows q. Source: model-spec section 4.1.
void select_chunks(Context& context, base::MatView<const float> q);

}  // namespace longreach::model
