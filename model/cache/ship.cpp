#include "model/cache/ship.hpp"

#include "model/transfer_plan.hpp"

#include <utility>

namespace longreach::model {
namespace {

using kernels::Partial;
using partition::Range;

/// Partials that travel in a round: some megabytes of memory on either side.
constexpr std::size_t kRoundPartials = 32768;

/// One round: the partials of some chunks. They travel by head, group of queries, and in the order
/// of the list of visits, which all shards know.
class Round {
 public:
  Round(ChunkAttention& attention, Range chunks)
      : attention_(attention),
        own_(attention.context().exchange.shard()),
        chunks_(chunks),
        groups_{attention.n_queries(), kGroupQueries},
        counts_(attention.selection().n_heads() * groups_.count() * own_.count) {}

  void run() {
    count();
    const TransferPlan plan(own_, [this](std::size_t from, std::size_t to) {
      return partials_between(from, to) * sizeof(Partial);
    });
    Workspace& space = attention_.context().workspace;
    space.sent_partials.resize(plan.sent_bytes() / sizeof(Partial));
    space.received_partials.resize(plan.received_bytes() / sizeof(Partial));
    attend_own_chunks(space.sent_partials);
    plan.run(attention_.context().exchange, Traffic::kPartials,
             std::as_bytes(std::span(space.sent_partials)),
             std::as_writable_bytes(std::span(space.received_partials)));
    merge(plan, space.received_partials);
  }

 private:
  /// Partials that a group's queries get from each shard.
  std::span<std::size_t> counts_of(std::size_t head, std::size_t group) {
    return std::span(counts_).subspan((head * groups_.count() + group) * own_.count, own_.count);
  }

  void count() {
    attention_.for_groups(attention_.all_heads(), groups_,
                          [&](std::size_t head, std::size_t group, WorkerScratch&) {
                            const Range queries = groups_.of(group);
                            for (std::size_t i = queries.begin; i < queries.end; ++i) {
                              attention_.selection().for_each_chunk(
                                  head, i, chunks_, [&](GlobalChunk chunk, auto, auto) {
                                    ++counts_of(head, group)[attention_.owner_of(chunk)];
                                  });
                            }
                          });
  }

  std::size_t partials_between(std::size_t from, std::size_t to) {
    std::size_t n = 0;
    const Range heads = attention_.heads_of(to);
    for (std::size_t head = heads.begin; head < heads.end; ++head) {
      for (std::size_t group = 0; group < groups_.count(); ++group) {
        n += counts_of(head, group)[from];
      }
    }
    return n;
  }

  /// For all queries; heads follow one another by shard, so what goes to a shard is consecutive.
  void attend_own_chunks(std::vector<Partial>& sent) {
    std::vector<std::size_t> places(attention_.selection().n_heads() * groups_.count());
    std::size_t n_sent = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      places[i] = n_sent;
      n_sent += counts_[i * own_.count + own_.index];
    }
    attention_.for_groups(
        attention_.all_heads(), groups_,
        [&](std::size_t head, std::size_t group, WorkerScratch& scratch) {
          const auto is_own = [&](GlobalChunk chunk) {
            return attention_.owner_of(chunk) == own_.index;
          };
          attention_.list_visits(head, groups_.of(group), chunks_, is_own, scratch.visits);
          Partial* next = sent.data() + places[head * groups_.count() + group];
          const auto rows_of = [&](const ChunkVisit& visit, std::size_t h) {
            return attention_.selection().cache(visit.query).rows(visit.chunk, h);
          };
          attention_.attend(head, scratch, rows_of,
                            [&](const ChunkVisit&, const Partial& partial) { *next++ = partial; });
        });
  }

  void merge(const TransferPlan& plan, std::span<const Partial> received) {
    const Range heads = attention_.own_heads();
    // Counts become places.
    for (std::size_t s = 0; s < own_.count; ++s) {
      std::size_t next = plan.received()[s].begin / sizeof(Partial);
      for (std::size_t head = heads.begin; head < heads.end; ++head) {
        for (std::size_t group = 0; group < groups_.count(); ++group) {
          std::size_t& count = counts_of(head, group)[s];
          next += std::exchange(count, next);
        }
      }
    }
    attention_.for_groups(
        heads, groups_, [&](std::size_t head, std::size_t group, WorkerScratch& scratch) {
          attention_.list_visits(
              head, groups_.of(group), chunks_, [](GlobalChunk) { return true; }, scratch.visits);
          const auto next = counts_of(head, group);
          for (const ChunkVisit& visit : scratch.visits) {
            attention_.merge(head, visit, received[next[attention_.owner_of(visit.chunk)]++]);
          }
        });
  }

  ChunkAttention& attention_;
  partition::Shard own_;
  Range chunks_;
  QueryGroups groups_;               ///< The same on all shards: partials travel in their order.
  std::vector<std::size_t> counts_;  ///< [head][group][shard]
};

/// Visits of each chunk number, all heads and queries together.
std::vector<std::size_t> count_by_chunk(const Selection& selection) {
  std::vector<std::size_t> counts(selection.n_chunks());
  for (std::size_t head = 0; head < selection.n_heads(); ++head) {
    for (std::size_t i = 0; i < selection.n_queries(); ++i) {
      selection.for_each_chunk(head, i, {0, selection.n_chunks()},
                               [&](GlobalChunk chunk, auto, auto) { ++counts[number_of(chunk)]; });
    }
  }
  return counts;
}

}  // namespace

void ship(ChunkAttention& attention) {
  const std::vector<std::size_t> counts = count_by_chunk(attention.selection());
  attention.for_rounds(
      kRoundPartials, [&](std::size_t chunk) { return counts[chunk]; },
      [&](Range chunks) { Round(attention, chunks).run(); });
}

}  // namespace longreach::model
