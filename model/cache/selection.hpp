/// The choice of chunks: every shard scores the queries against the mean keys of its own closed
/// chunks and offers its best; all of them decide alike.
#pragma once

#include "kernels/base/view.hpp"
#include "model/cache/attention_span.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longreach::model {

struct Context;
class KvCache;

/// That a query sees rows first .. last-1 of a chunk.
struct ChunkVisit {
  std::uint32_t chunk, first, query, last;
  auto operator<=>(const ChunkVisit&) const = default;
};

/// A closed chunk that a shard offers for a query.
struct Candidate {
  float score;
  std::uint32_t chunk;
};

/// What the queries of a slice see, in all heads. Filled by select_chunks.
class Selection {
 public:
  /// Queries 0 .. n-1 are of cache rows first_row .. first_row+n-1.
  void begin(const AttentionConfig& config, const CallRows& call, std::size_t first_row,
             std::size_t n_queries, std::size_t n_heads);

  const AttentionSpan& span(std::size_t query) const { return spans_[query]; }
  std::size_t n_queries() const { return spans_.size(); }
  std::size_t n_heads() const { return n_heads_; }
  /// Chunks of the cache that hold rows, the newest query's among them.
  std::size_t n_chunks() const { return (first_row_ + n_queries() - 1) / chunk_size_ + 1; }
  /// Closed chunks before the rows that a query sees in any case.
  std::size_t n_closed(std::size_t query) const { return spans_[query].first_row / chunk_size_; }
  /// Whether a query has more chunks to choose from than it may.
  bool chooses(std::size_t query) const {
    const AttentionSpan& span = spans_[query];
    return span.scope != SelectionScope::kNone && n_closed(query) > span.n_chosen;
  }
  /// Who chooses: each head, or 1 for all.
  std::size_t n_choosers() const { return n_choosers_; }

  /// The chunks chosen for a query, ascending; for a query that chooses.
  std::span<const std::uint32_t> chosen(std::size_t head, std::size_t query) const {
    const std::size_t index = std::min(head, n_choosers_ - 1) * n_queries() + query;
    return {chunks_.data() + index * n_slots_, counts_[index]};
  }
  /// Keeps the best of the candidates for a query, which are reordered.
  void choose(std::size_t chooser, std::size_t query, std::span<Candidate> candidates);

  /// Calls see(chunk, first, last) for the rows first .. last-1 that a query sees of each of the
  /// chunks in `chunks`, by rising chunk.
  template <typename See>
  void for_each_chunk(std::size_t head, std::size_t query, partition::Range chunks,
                      See&& see) const {
    const AttentionSpan& span = spans_[query];
    if (chooses(query)) {
      for (const std::uint32_t chunk : chosen(head, query)) {
        if (chunk >= chunks.begin && chunk < chunks.end) see(chunk, 0, chunk_size_);
      }
    } else if (span.scope != SelectionScope::kNone) {
      for (std::size_t chunk = chunks.begin; chunk < std::min(chunks.end, n_closed(query));
           ++chunk) {
        see(chunk, 0, chunk_size_);
      }
    }
    const std::size_t row = first_row_ + query;
    for (std::size_t chunk = std::max(chunks.begin, span.first_row / chunk_size_);
         chunk < chunks.end && chunk * chunk_size_ <= row; ++chunk) {
      const std::size_t begin = chunk * chunk_size_;
      see(chunk, std::max(span.first_row, begin) - begin, std::min(row + 1 - begin, chunk_size_));
    }
  }

 private:
  std::size_t chunk_size_ = 1, first_row_ = 0, n_heads_ = 0, n_choosers_ = 1;
  std::size_t n_slots_ = 0;  ///< Most chunks that a query chooses.
  std::vector<AttentionSpan> spans_;
  std::vector<std::uint32_t> chunks_;  ///< [chooser][query][slot]
  std::vector<std::uint32_t> counts_;  ///< [chooser][query]
};

/// Chooses the chunks that the newest rows' queries q [T, H * 64] see besides the nearest rows,
/// into the workspace's selection. Ties: the higher score first, then the lower chunk; NaN never
/// wins. Collective: all shards, with whole rows q. Source: model-spec sections 4.1 to 4.3.
void select_chunks(Context& context, const CallRows& call, const KvCache& cache,
                   base::MatView<const float> q);

}  // namespace longreach::model
