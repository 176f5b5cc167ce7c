#include "model/cache/meeting.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using kernels::Partial;
using partition::Range;

/// Partials, and bytes of keys and values, that travel in a round: some megabytes of memory on
/// either side. A round has one chunk at least.
constexpr std::size_t kRoundPartials = 32768;
constexpr std::size_t kRoundBytes = std::size_t{1} << 25;

/// Groups of a head's queries, treated together: they share the reading of the chunks they see.
struct Groups {
  std::size_t n_queries, n_in_group;

  std::size_t count() const { return (n_queries + n_in_group - 1) / n_in_group; }
  Range of(std::size_t group) const {
    return {group * n_in_group, std::min((group + 1) * n_in_group, n_queries)};
  }
};

/// The largest groups that leave no thread idle, as far as groups of kGroupQueries do not.
Groups largest_groups(std::size_t n_queries, std::size_t n_heads, std::size_t n_threads) {
  constexpr std::size_t kTasksPerThread = 4;  // so that the last ones end at about the same time
  const std::size_t n_wanted =
      n_threads == 1 ? 1 : (kTasksPerThread * n_threads + n_heads - 1) / n_heads;
  return {n_queries, std::max((n_queries + n_wanted - 1) / n_wanted, kGroupQueries)};
}

/// One slice's queries on their way to the chunks.
class Meeting {
 public:
  Meeting(Context& context, const KvCache& cache, MatView<const float> q)
      : context_(context),
        cache_(cache),
        selection_(context.workspace.selection),
        q_(q),
        own_(context.exchange.shard()),
        groups_{q.rows(), kGroupQueries} {
    context.workspace.totals.assign(context.extents.heads.size() * q.rows(), {});
  }

  /// The chunks come to the heads, if they are not in reach anyway.
  void gather() {
    if (context_.exchange.reaches_chunks()) {
      // What their shards have appended is seen, and stays until the heads' output is shared.
      context_.exchange.barrier();
      attend_here({0, selection_.n_chunks()},
                  [this](std::size_t chunk, std::size_t head) { return cache_.rows(chunk, head); });
      return;
    }
    const auto n_bytes = [this](std::size_t chunk) {
      return heads_that_see(chunk) * travelling(chunk).size_bytes();
    };
    for_rounds(kRoundBytes, n_bytes, [this](Range chunks) { gather_round(chunks); });
  }

  /// The queries' partials come from the chunks.
  void ship() {
    const std::vector<std::size_t> counts = count_by_chunk();
    for_rounds(
        kRoundPartials, [&](std::size_t chunk) { return counts[chunk]; },
        [this](Range chunks) { ship_round(chunks); });
  }

  /// Whether fewer bytes travel, between all shards, when chunks come to the heads.
  bool gathering_is_less() {
    if (context_.exchange.reaches_chunks()) return true;
    if (q_.rows() == 1) return false;  // a chunk is more than its partial
    std::size_t shipped = 0, gathered = 0;
    const std::vector<std::uint8_t>& seen = chunks_seen();
    for (std::size_t head = 0; head < selection_.n_heads(); ++head) {
      const std::size_t head_owner =
          partition::part_holding(head, selection_.n_heads(), own_.count);
      for (std::size_t i = 0; i < q_.rows(); ++i) {
        selection_.for_each_chunk(head, i, all_chunks(), [&](std::size_t chunk, auto, auto) {
          if (owner_of(chunk) != head_owner) shipped += sizeof(Partial);
        });
      }
      for (std::size_t chunk = 0; chunk < selection_.n_chunks(); ++chunk) {
        if (seen[chunk * selection_.n_heads() + head] != 0 && owner_of(chunk) != head_owner) {
          gathered += travelling(chunk).size_bytes();
        }
      }
    }
    return gathered < shipped;
  }

  void finish(MatView<float> y) {
    const Range heads = context_.extents.heads;
    context_.pool.for_each(heads.size(), [&](std::size_t i, std::size_t) {
      for (std::size_t t = 0; t < q_.rows(); ++t) {
        const std::size_t head = heads.begin + i;
        kernels::finish(total(head, t), y.row(t).subspan(head * kHeadSize, kHeadSize));
      }
    });
  }

 private:
  Range all_chunks() const { return {0, selection_.n_chunks()}; }
  std::size_t owner_of(std::size_t chunk) const {
    return partition::owner_of_chunk(chunk, own_.count);
  }
  /// Of an own head.
  Partial& total(std::size_t head, std::size_t query) {
    return context_.workspace.totals[(head - context_.extents.heads.begin) * q_.rows() + query];
  }
  /// Adds what an own head's query has found in a chunk, which comes behind the chunks before.
  void merge(std::size_t head, std::size_t query, std::size_t chunk, const Partial& partial) {
    if (context_.observer != nullptr) context_.observer->see_partial(head, query, chunk, partial);
    kernels::merge(total(head, query), partial);
  }
  Range heads_of(std::size_t shard) const {
    return partition::heads_of(selection_.n_heads(), {shard, own_.count});
  }

  /// task(head, group, scratch) for the groups of these heads, spread over the threads.
  template <typename Task>
  void for_groups(Range heads, const Groups& groups, Task&& task) {
    context_.pool.for_each(heads.size() * groups.count(), [&](std::size_t i, std::size_t worker) {
      task(heads.begin + i / groups.count(), i % groups.count(),
           context_.workspace.workers[worker]);
    });
  }

  /// round(chunks) for runs of chunks whose weights sum up to no more than `most`, or of one chunk.
  template <typename Weight, typename Round>
  void for_rounds(std::size_t most, Weight&& weight_of, Round&& round) {
    for (std::size_t begin = 0, end = 0; begin < selection_.n_chunks(); begin = end) {
      std::size_t sum = 0;
      do {
        sum += weight_of(end++);
      } while (end < selection_.n_chunks() && sum + weight_of(end) <= most);
      if (sum > 0) round({begin, end});
    }
  }

  /// Lists what a group's queries see of those of the chunks that `wanted` says, by rising chunk;
  /// queries that see a chunk from the same row on stand together, the shorter span first.
  template <typename Wanted>
  void list_visits(std::size_t head, Range queries, Range chunks, Wanted&& wanted,
                   std::vector<ChunkVisit>& visits) const {
    visits.clear();
    for (std::size_t i = queries.begin; i < queries.end; ++i) {
      selection_.for_each_chunk(
          head, i, chunks, [&](std::size_t chunk, std::size_t first, std::size_t last) {
            if (!wanted(chunk)) return;
            visits.push_back({static_cast<std::uint32_t>(chunk), static_cast<std::uint32_t>(first),
                              static_cast<std::uint32_t>(i - queries.begin),
                              static_cast<std::uint32_t>(last)});
          });
    }
    std::ranges::sort(visits);
  }

  /// Attends to what is listed in scratch.visits, a chunk once for all queries that see it.
  /// Calls found(visit, partial) in the order of the list.
  template <typename RowsOf, typename Found>
  void attend(std::size_t head, Range queries, WorkerScratch& scratch, RowsOf&& rows_of,
              Found&& found) const {
    const auto q = q_.rows(queries.begin, queries.size()).cols(head * kHeadSize, kHeadSize);
    for (auto begin = scratch.visits.begin(); begin != scratch.visits.end();) {
      const auto end = std::find_if(begin, scratch.visits.end(), [&](const ChunkVisit& s) {
        return s.chunk != begin->chunk || s.first != begin->first;
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
      kernels::attend({scratch.queries.data(), same.size(), kHeadSize},
                      rows_of(same[0].chunk, head), same[0].first, scratch.last, scratch.partials);
      for (std::size_t i = 0; i < same.size(); ++i) found(same[i], scratch.partials[i]);
      begin = end;
    }
  }

  /// Attends, for the own heads, to rows_of(chunk, head).
  template <typename RowsOf>
  void attend_here(Range chunks, RowsOf&& rows_of) {
    const Range heads = context_.extents.heads;
    if (heads.size() == 0) return;
    const Groups groups = largest_groups(q_.rows(), heads.size(), context_.pool.size());
    for_groups(heads, groups, [&](std::size_t head, std::size_t group, WorkerScratch& scratch) {
      const Range queries = groups.of(group);
      list_visits(
          head, queries, chunks, [](std::size_t) { return true; }, scratch.visits);
      attend(head, queries, scratch, rows_of, [&](const ChunkVisit& visit, const Partial& partial) {
        merge(head, queries.begin + visit.query, visit.chunk, partial);
      });
    });
  }

  // Gathering.

  /// Whether any query of a head sees a chunk, [chunk][head].
  const std::vector<std::uint8_t>& chunks_seen() {
    if (!seen_.empty()) return seen_;
    const std::size_t n_heads = selection_.n_heads();
    seen_.assign(selection_.n_chunks() * n_heads, 0);
    for (std::size_t head = 0; head < n_heads; ++head) {
      for (std::size_t i = 0; i < q_.rows(); ++i) {
        selection_.for_each_chunk(head, i, all_chunks(), [&](std::size_t chunk, auto, auto) {
          seen_[chunk * n_heads + head] = 1;
        });
      }
    }
    return seen_;
  }

  std::size_t heads_that_see(std::size_t chunk) {
    const auto seen = std::span(chunks_seen()).subspan(chunk * selection_.n_heads());
    return std::accumulate(seen.begin(),
                           seen.begin() + static_cast<std::ptrdiff_t>(selection_.n_heads()),
                           std::size_t{0});
  }

  std::size_t rows_in(std::size_t chunk) const {
    return std::min(cache_.chunk_size(), cache_.size() - chunk * cache_.chunk_size());
  }
  /// One head of a chunk as it travels: the rows there are, as they are kept.
  kernels::HeadLayout travelling(std::size_t chunk) const {
    return {cache_.format(), rows_in(chunk)};
  }

  /// part(chunk, head) for what goes from shard `from` to shard `to` in a round, in order. A shard
  /// sends itself nothing.
  template <typename PartOf>
  void for_travelling(Range chunks, std::size_t from, std::size_t to, PartOf&& part) {
    if (from == to) return;
    const Range heads = heads_of(to);
    for (std::size_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
      if (owner_of(chunk) != from) continue;
      for (std::size_t head = heads.begin; head < heads.end; ++head) {
        if (chunks_seen()[chunk * selection_.n_heads() + head] != 0) part(chunk, head);
      }
    }
  }

  void gather_round(Range chunks) {
    Workspace& space = context_.workspace;
    std::vector<Range> sent(own_.count), received(own_.count);
    std::size_t n_sent = 0, n_received = 0;  // bytes
    // Where a chunk's head has come to, [chunk][own head].
    const Range heads = context_.extents.heads;
    std::vector<std::size_t> places(chunks.size() * heads.size());
    for (std::size_t s = 0; s < own_.count; ++s) {
      sent[s].begin = n_sent;
      for_travelling(chunks, own_.index, s, [&](std::size_t chunk, std::size_t) {
        n_sent += travelling(chunk).size_bytes();
      });
      sent[s].end = n_sent;
      received[s].begin = n_received;
      for_travelling(chunks, s, own_.index, [&](std::size_t chunk, std::size_t head) {
        places[(chunk - chunks.begin) * heads.size() + head - heads.begin] = n_received;
        n_received += travelling(chunk).size_bytes();
      });
      received[s].end = n_received;
    }
    const std::span<std::byte> going = space.sent.bytes(n_sent);
    std::byte* next = going.data();
    for (std::size_t s = 0; s < own_.count; ++s) {
      for_travelling(chunks, own_.index, s, [&](std::size_t chunk, std::size_t head) {
        travelling(chunk).copy(cache_.rows(chunk, head), next);
        next += travelling(chunk).size_bytes();
      });
    }
    const std::span<std::byte> came = space.gathered.bytes(n_received);
    context_.exchange.all_to_all(Traffic::kChunks, going, sent, came, received);
    attend_here(chunks, [&](std::size_t chunk, std::size_t head) {
      if (owner_of(chunk) == own_.index) return cache_.rows(chunk, head);
      const std::size_t place = places[(chunk - chunks.begin) * heads.size() + head - heads.begin];
      return travelling(chunk).rows(came.data() + place);
    });
  }

  // Shipping.

  /// ChunkVisit of each chunk, all heads together.
  std::vector<std::size_t> count_by_chunk() const {
    std::vector<std::size_t> counts(selection_.n_chunks());
    for (std::size_t head = 0; head < selection_.n_heads(); ++head) {
      for (std::size_t i = 0; i < q_.rows(); ++i) {
        selection_.for_each_chunk(head, i, all_chunks(),
                                  [&](std::size_t chunk, auto, auto) { ++counts[chunk]; });
      }
    }
    return counts;
  }

  void ship_round(Range chunks) {
    Workspace& space = context_.workspace;
    const std::size_t n_groups = groups_.count(), n_shards = own_.count;
    // Partials that a group's queries get from each shard, [head][group][shard].
    std::vector<std::size_t> counts(selection_.n_heads() * n_groups * n_shards);
    const auto counts_of = [&](std::size_t head, std::size_t group) {
      return std::span(counts).subspan((head * n_groups + group) * n_shards, n_shards);
    };
    const Range all_heads{0, selection_.n_heads()};
    for_groups(all_heads, groups_, [&](std::size_t head, std::size_t group, WorkerScratch&) {
      const Range queries = groups_.of(group);
      for (std::size_t i = queries.begin; i < queries.end; ++i) {
        selection_.for_each_chunk(head, i, chunks, [&](std::size_t chunk, auto, auto) {
          ++counts_of(head, group)[owner_of(chunk)];
        });
      }
    });

    // Partials travel by head, group, and in the order of the list. Counts become places.
    std::vector<Range> sent(n_shards), received(n_shards);
    std::vector<std::size_t> sent_places(selection_.n_heads() * n_groups);
    std::size_t n_sent = 0, n_received = 0;
    for (std::size_t s = 0; s < n_shards; ++s) {
      sent[s].begin = n_sent * sizeof(Partial);
      for (std::size_t i = heads_of(s).begin * n_groups; i < heads_of(s).end * n_groups; ++i) {
        sent_places[i] = n_sent;
        n_sent += counts[i * n_shards + own_.index];
      }
      sent[s].end = n_sent * sizeof(Partial);
    }
    const Range heads = context_.extents.heads;
    for (std::size_t s = 0; s < n_shards; ++s) {
      received[s].begin = n_received * sizeof(Partial);
      for (std::size_t i = heads.begin * n_groups; i < heads.end * n_groups; ++i) {
        n_received += std::exchange(counts[i * n_shards + s], n_received);
      }
      received[s].end = n_received * sizeof(Partial);
    }

    space.sent_partials.resize(n_sent);
    space.received_partials.resize(n_received);
    for_groups(
        all_heads, groups_, [&](std::size_t head, std::size_t group, WorkerScratch& scratch) {
          const auto is_own = [&](std::size_t chunk) { return owner_of(chunk) == own_.index; };
          list_visits(head, groups_.of(group), chunks, is_own, scratch.visits);
          Partial* next = space.sent_partials.data() + sent_places[head * n_groups + group];
          const auto rows_of = [&](std::size_t chunk, std::size_t h) {
            return cache_.rows(chunk, h);
          };
          attend(head, groups_.of(group), scratch, rows_of,
                 [&](const ChunkVisit&, const Partial& partial) { *next++ = partial; });
        });
    context_.exchange.all_to_all(Traffic::kPartials, std::as_bytes(std::span(space.sent_partials)),
                                 sent, std::as_writable_bytes(std::span(space.received_partials)),
                                 received);
    for_groups(heads, groups_, [&](std::size_t head, std::size_t group, WorkerScratch& scratch) {
      list_visits(
          head, groups_.of(group), chunks, [](std::size_t) { return true; }, scratch.visits);
      const auto next = counts_of(head, group);
      const std::size_t first = groups_.of(group).begin;
      for (const ChunkVisit& visit : scratch.visits) {
        merge(head, first + visit.query, visit.chunk,
              space.received_partials[next[owner_of(visit.chunk)]++]);
      }
    });
  }

  Context& context_;
  const KvCache& cache_;
  const Selection& selection_;
  MatView<const float> q_;
  partition::Shard own_;
  Groups groups_;  ///< The same on all shards: partials travel in their order.
  std::vector<std::uint8_t> seen_;
};

}  // namespace

void meet_chunks(Context& context, const KvCache& cache, MatView<const float> q, MatView<float> y) {
  Meeting meeting(context, cache, q);
  const ExchangeWay way = context.attention.exchange;
  const bool alone = context.exchange.shard().count == 1;
  const bool gathers =
      way == ExchangeWay::kGather || (way == ExchangeWay::kAuto && meeting.gathering_is_less());
  if (alone || gathers) {
    meeting.gather();
  } else {
    meeting.ship();
  }
  meeting.finish(y);
}

}  // namespace longreach::model
