/// What both ways of distributed attention share: which queries see a chunk, attention over it, and
/// merging what they find.
///
/// Queries that see the same memory, be it of one sequence or of several that were forked, share
/// its reading.
#pragma once

#include "kernels/attention/attention.hpp"
#include "model/cache/selection.hpp"
#include "model/context.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longreach::model {

/// Groups of a head's queries, treated together: they share the reading of the chunks they see.
struct QueryGroups {
  std::size_t n_queries, n_in_group;

  std::size_t count() const { return (n_queries + n_in_group - 1) / n_in_group; }
  partition::Range of(std::size_t group) const {
    return {group * n_in_group, std::min((group + 1) * n_in_group, n_queries)};
  }
};

/// What a softmax is divided by: weight * exp(max). Sent as it lies.
struct SoftmaxSum {
  float max, weight;
};

/// Where attention over a chunk is computed.
enum class Partials {
  kStay,    ///< Where the head is.
  kTravel,  ///< Where the chunk is kept.
};

/// The attention of a step's queries over what the workspace's selection says they see.
class ChunkAttention {
 public:
  /// q [T, H * 64], whole rows. The arguments must outlive it.
  ChunkAttention(Context& context, base::MatView<const float> q);

  const Selection& selection() const { return context_.workspace.selection; }
  Context& context() const { return context_; }
  std::size_t n_queries() const { return q_.rows(); }
  partition::Range own_heads() const { return context_.extents.heads; }
  partition::Range all_heads() const { return {0, selection().n_heads()}; }
  partition::Range heads_of(std::size_t shard) const {
    return partition::heads_of(selection().n_heads(), {shard, context_.exchange.shard().count});
  }
  std::size_t owner_of(GlobalChunk chunk) const {
    return partition::owner_of_chunk(chunk, context_.exchange.shard().count);
  }

  /// The largest groups that leave no thread idle, as far as groups of kGroupQueries do not.
  QueryGroups largest_groups() const;

  /// Lists what a group's queries see, in a head, of those of the chunks that `wanted` says: by
  /// rising chunk, then by memory; of the same memory, queries that see it from the same row on are
  /// neighbours, those that see less of it first.
  template <typename Wanted>
  void list_visits(std::size_t head, partition::Range queries, partition::Range chunks,
                   Wanted&& wanted, std::vector<ChunkVisit>& visits) const {
    visits.clear();
    for (std::size_t i = queries.begin; i < queries.end; ++i) {
      const KvCache& cache = selection().cache(i);
      selection().for_each_chunk(
          head, i, chunks, [&](GlobalChunk chunk, std::size_t first, std::size_t last) {
            if (!wanted(chunk)) return;
            visits.push_back({chunk, cache.chunk_id(chunk), static_cast<std::uint32_t>(first),
                              static_cast<std::uint32_t>(last), static_cast<std::uint32_t>(i)});
          });
    }
    std::ranges::sort(visits);
  }

  /// Attends to what is listed in scratch.visits, a chunk's memory once for all queries that see
  /// it: rows_of(visit, head) says where it lies. Calls found(visit, partial) in the order of the
  /// list.
  template <typename RowsOf, typename Found>
  void attend(std::size_t head, WorkerScratch& scratch, RowsOf&& rows_of, Found&& found) const {
    const auto q = q_.cols(head * kernels::kHeadSize, kernels::kHeadSize);
    for (auto begin = scratch.visits.begin(); begin != scratch.visits.end();) {
      const auto end = std::find_if(begin, scratch.visits.end(), [&](const ChunkVisit& v) {
        return v.chunk_id != begin->chunk_id || v.first != begin->first;
      });
      const std::span<const ChunkVisit> same(begin, end);
      scratch.queries.clear();
      scratch.last.clear();
      for (const ChunkVisit& visit : same) {
        const auto row = q.row(visit.query);
        scratch.queries.insert(scratch.queries.end(), row.begin(), row.end());
        scratch.last.push_back(visit.last);
      }
      scratch.partials.resize(same.size());
      if (weighed_.any()) make_room_for_weights(head, same, scratch);
      kernels::attend({scratch.queries.data(), same.size(), kernels::kHeadSize},
                      rows_of(same[0], head), same[0].first, scratch.last, scratch.partials,
                      scratch.weights, context_.activations);
      for (std::size_t i = 0; i < same.size(); ++i) found(same[i], scratch.partials[i]);
      begin = end;
    }
  }

  /// Attends, for this shard's heads, to what their queries see of `chunks`, and merges it.
  template <typename RowsOf>
  void attend_own_heads(partition::Range chunks, RowsOf&& rows_of) {
    if (own_heads().size() == 0) return;
    const QueryGroups groups = largest_groups();
    for_groups(
        own_heads(), groups, [&](std::size_t head, std::size_t group, WorkerScratch& scratch) {
          list_visits(
              head, groups.of(group), chunks, [](GlobalChunk) { return true; }, scratch.visits);
          attend(head, scratch, rows_of, [&](const ChunkVisit& visit, const auto& partial) {
            merge(head, visit, partial);
          });
        });
  }

  /// Adds what the query of one of this shard's heads has found in a chunk, after all chunks before
  /// it.
  void merge(std::size_t head, const ChunkVisit& visit, const kernels::Partial& partial) {
    context_.observer->see_partial(head, visit.query, visit.chunk, partial);
    kernels::merge(total(head, visit.query), partial);
  }

  /// Writes this shard's heads of the result, y [T, H * 64].
  void finish(base::MatView<float> y);

  /// Reports to the observer how the weighed queries' softmax divides between what was attended to
  /// here. Collective where partials have travelled: shards then tell each other the sums.
  void report_shares(Partials partials);

  /// task(head, group, scratch) for the groups of these heads, spread over the threads.
  template <typename Task>
  void for_groups(partition::Range heads, const QueryGroups& groups, Task&& task) const {
    context_.pool.for_each(heads.size() * groups.count(), [&](std::size_t i, std::size_t worker) {
      task(heads.begin + i / groups.count(), i % groups.count(),
           context_.workspace.workers[worker]);
    });
  }

  /// round(chunks) for runs of chunk numbers whose weights sum up to no more than `most`, or of one
  /// number. What a round moves has a bounded size, and rounds do not grow with the segments.
  template <typename Weight, typename Round>
  void for_rounds(std::size_t most, Weight&& weight_of, Round&& round) const {
    const std::size_t n_chunks = selection().n_chunks();
    for (std::size_t begin = 0, end = 0; begin < n_chunks; begin = end) {
      std::size_t sum = 0;
      do {
        sum += weight_of(end++);
      } while (end < n_chunks && sum + weight_of(end) <= most);
      if (sum > 0) round(partition::Range{begin, end});
    }
  }

 private:
  /// Lists those of a chunk's visits whose queries are weighed, and makes room for their weights.
  void make_room_for_weights(std::size_t head, std::span<const ChunkVisit> visits,
                             WorkerScratch& scratch) const;

  /// Of all heads and weighed queries, [head][weighed query]; where partials stay, of this shard's
  /// heads.
  std::vector<SoftmaxSum> softmax_sums(Partials partials);

  kernels::Partial& total(std::size_t head, std::size_t query) {
    return context_.workspace.totals[(head - own_heads().begin) * n_queries() + query];
  }

  Context& context_;
  base::MatView<const float> q_;
  RowSet weighed_;  ///< Queries whose attention is to be divided between rows.
};

}  // namespace longreach::model
