#include "model/cache/selection_mass.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using kernels::Partial;

/// Queries that share the reading of the cache; bounds the memory for their masses.
constexpr std::size_t kMeasuredTogether = 16;

/// A chunk's rows in a softmax: weight * exp(max), as in kernels::Partial. Sent as it lies.
struct ChunkMass {
  float max = -std::numeric_limits<float>::infinity();
  float weight = 0;
};

/// Some of a segment's queries, and how their full attention divides between chunks.
class Measurement {
 public:
  /// The queries at rows `queries` of the segment, ascending; q are those of the step.
  Measurement(Context& context, const SegmentCache& segment, MatView<const float> q,
              std::span<const std::size_t> queries)
      : context_(context),
        cache_(*segment.cache),
        first_query_(segment.first_row),
        q_(q.rows(segment.first_row, segment.n_rows)),
        queries_(queries),
        shard_(context.exchange.shard()),
        n_slots_(partition::chunks_of(n_chunks(queries.size() - 1), {0, shard_.count})),
        masses_(shard_.count * shard_size()) {}

  /// Computes what own chunks hold, for all heads, and gathers it.
  void gather() {
    const std::size_t n_own = cache_.own_chunks(n_chunks(queries_.size() - 1));
    context_.pool.for_each(n_head() * n_own, [&](std::size_t task, std::size_t worker) {
      attend(task / n_own, LocalChunk(task % n_own), context_.workspace.workers[worker]);
    });
    std::vector<partition::Range> parts;
    for (std::size_t s = 0; s < shard_.count; ++s) {
      const std::size_t bytes = shard_size() * sizeof(ChunkMass);
      parts.push_back({s * bytes, (s + 1) * bytes});
    }
    context_.exchange.all_gather(Traffic::kMasses, std::as_writable_bytes(std::span(masses_)),
                                 parts);
  }

  void report(Observer& observer) const {
    std::vector<MassShares> shares(n_head() * queries_.size());
    context_.pool.for_each(shares.size(), [&](std::size_t i, std::size_t) {
      const std::size_t head = i / queries_.size(), query = i % queries_.size();
      shares[i] = shares_of(context_.workspace.selection, head, first_query_ + queries_[query],
                            chunk_weights(head, query));
    });
    for (std::size_t i = 0; i < shares.size(); ++i) {
      observer.see_mass(i / queries_.size(), first_query_ + queries_[i % queries_.size()],
                        shares[i]);
    }
  }

 private:
  std::size_t n_head() const { return context_.config.n_head; }
  /// Row of the cache of a query, counted among those measured.
  std::size_t row(std::size_t query) const { return cache_.size() - q_.rows() + queries_[query]; }
  /// Chunks up to the query's own.
  std::size_t n_chunks(std::size_t query) const { return row(query) / cache_.chunk_size() + 1; }
  /// Masses that a shard computes: [head][query][own chunk].
  std::size_t shard_size() const { return n_head() * queries_.size() * n_slots_; }
  std::size_t place(std::size_t head, std::size_t query, GlobalChunk chunk) const {
    const std::size_t owner = partition::owner_of_chunk(chunk, shard_.count);
    return ((owner * n_head() + head) * queries_.size() + query) * n_slots_ +
           number_of(partition::local_chunk(chunk, shard_.count));
  }

  /// Masses of an own chunk, for the queries that it does not lie behind.
  void attend(std::size_t head, LocalChunk own, WorkerScratch& scratch) {
    const GlobalChunk chunk = cache_.global_chunk(own);
    const std::size_t begin = number_of(chunk) * cache_.chunk_size();
    std::size_t first = 0;
    while (row(first) < begin) ++first;
    scratch.queries.clear();
    scratch.last.clear();
    for (std::size_t query = first; query < queries_.size(); ++query) {
      const auto numbers = q_.row(queries_[query]).subspan(head * kHeadSize, kHeadSize);
      scratch.queries.insert(scratch.queries.end(), numbers.begin(), numbers.end());
      const std::size_t n_rows = std::min(row(query) + 1 - begin, cache_.chunk_size());
      scratch.last.push_back(static_cast<std::uint32_t>(n_rows));
    }
    scratch.partials.resize(scratch.last.size());
    kernels::attend({scratch.queries.data(), scratch.last.size(), kHeadSize},
                    cache_.rows(chunk, head), 0, scratch.last, scratch.partials, {},
                    context_.activations);
    for (std::size_t n = 0; n < scratch.partials.size(); ++n) {
      const Partial& partial = scratch.partials[n];
      masses_[place(head, first + n, chunk)] = {partial.max, partial.weight};
    }
  }

  /// By chunk, such that the largest row of all has the weight 1.
  std::vector<float> chunk_weights(std::size_t head, std::size_t query) const {
    std::vector<float> weights(n_chunks(query));
    float max = -std::numeric_limits<float>::infinity();
    for (std::size_t chunk = 0; chunk < weights.size(); ++chunk) {
      max = std::max(max, masses_[place(head, query, GlobalChunk(chunk))].max);
    }
    for (std::size_t chunk = 0; chunk < weights.size(); ++chunk) {
      const ChunkMass& mass = masses_[place(head, query, GlobalChunk(chunk))];
      weights[chunk] = mass.weight * std::exp(mass.max - max);
    }
    return weights;
  }

  Context& context_;
  const KvCache& cache_;
  std::size_t first_query_;
  MatView<const float> q_;  ///< Of the segment.
  std::span<const std::size_t> queries_;
  partition::Shard shard_;
  std::size_t n_slots_;  ///< Most chunks that a shard keeps.
  std::vector<ChunkMass> masses_;
};

}  // namespace

MassShares shares_of(const Selection& selection, std::size_t head, std::size_t query,
                     std::span<const float> weights) {
  double total = 0, seen = 0, best = 0;
  const auto add = [weights](std::size_t chunk, double& sum) {
    sum += static_cast<double>(weights[chunk]);
  };
  for (std::size_t chunk = 0; chunk < weights.size(); ++chunk) add(chunk, total);
  selection.for_each_chunk(head, query, {0, weights.size()},
                           [&](GlobalChunk chunk, auto, auto) { add(number_of(chunk), seen); });
  // The chunks behind the closed ones are seen in any case.
  const std::size_t n_closed = selection.n_closed(query);
  std::vector<std::uint32_t> chosen(std::min(selection.span(query).n_chosen, n_closed));
  chosen.resize(kernels::choose_chunks(weights.first(n_closed), chosen.size(), chosen));
  for (const std::uint32_t chunk : chosen) add(chunk, best);
  for (std::size_t chunk = n_closed; chunk < weights.size(); ++chunk) add(chunk, best);
  return {static_cast<float>(seen / total), static_cast<float>(best / total)};
}

void measure_selection(Context& context, MatView<const float> q) {
  for (const SegmentCache& segment : context.workspace.selection.segments()) {
    std::vector<std::size_t> measured;
    for (std::size_t i = 0; i < segment.n_rows; ++i) {
      if (context.observer->measures(segment.first_row + i)) measured.push_back(i);
    }
    for (std::size_t first = 0; first < measured.size(); first += kMeasuredTogether) {
      const std::size_t n = std::min(kMeasuredTogether, measured.size() - first);
      Measurement measurement(context, segment, q, std::span(measured).subspan(first, n));
      measurement.gather();
      measurement.report(*context.observer);
    }
  }
}

}  // namespace longreach::model
