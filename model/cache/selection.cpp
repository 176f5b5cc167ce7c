#include "model/cache/selection.hpp"

#include "kernels/attention/attention.hpp"
#include "kernels/rows/rows.hpp"
#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"

#include <limits>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

constexpr std::uint32_t kNoChunk = std::numeric_limits<std::uint32_t>::max();

/// What every shard offers: [shard][chooser][query][slot], filled up with kNoChunk.
struct Offers {
  std::size_t n_shards, n_choosers, n_queries, n_slots;
  std::vector<Candidate>& all;

  std::span<Candidate> of(std::size_t shard, std::size_t chooser, std::size_t query) const {
    const std::size_t index = (shard * n_choosers + chooser) * n_queries + query;
    return std::span(all).subspan(index * n_slots, n_slots);
  }
  std::size_t shard_bytes() const { return n_choosers * n_queries * n_slots * sizeof(Candidate); }
};

/// Offers the best of a query's scores with own closed chunks.
void offer(const KvCache& cache, std::span<const float> scores, std::vector<std::uint32_t>& chosen,
           std::span<Candidate> to) {
  chosen.resize(std::min(to.size(), scores.size()));
  const std::size_t n = kernels::choose_chunks(scores, chosen.size(), chosen);
  for (std::size_t i = 0; i < n; ++i) {
    to[i] = {scores[chosen[i]], static_cast<std::uint32_t>(cache.own_chunk(chosen[i]))};
  }
}

/// Scores a head's group of queries from `first` on, and offers each query's best.
void offer_group(const KvCache& cache, const Selection& selection, std::size_t head,
                 std::size_t first, MatView<const float> q, const Offers& offers, std::size_t shard,
                 WorkerScratch& scratch) {
  const std::size_t n_scored = cache.own_chunks(selection.n_closed(first + q.rows() - 1));
  if (n_scored == 0) return;
  scratch.scores.resize(q.rows() * n_scored);
  const MatView<float> scores(scratch.scores.data(), q.rows(), n_scored);
  cache.score_chunks(head, q, scores);
  for (std::size_t i = 0; i < q.rows(); ++i) {
    if (!selection.chooses(first + i)) continue;
    const std::size_t n_own = cache.own_chunks(selection.n_closed(first + i));
    offer(cache, scores.row(i).first(n_own), scratch.chosen, offers.of(shard, head, first + i));
  }
}

/// Offers the chunks whose scores, summed over the heads, are best for the only query.
void offer_for_all_heads(Context& context, const KvCache& cache, const Selection& selection,
                         MatView<const float> q, const Offers& offers, std::size_t shard) {
  const std::size_t n_scored = cache.own_chunks(selection.n_closed(0));
  std::vector<float> sums(n_scored), scores(n_scored);
  for (std::size_t head = 0; head < context.config.n_head; ++head) {
    cache.score_chunks(head, q.cols(head * kHeadSize, kHeadSize), {scores.data(), 1, n_scored});
    kernels::add(scores, sums);
  }
  offer(cache, sums, context.workspace.workers[0].chosen, offers.of(shard, 0, 0));
}

}  // namespace

void Selection::begin(const AttentionConfig& config, const CallRows& call, std::size_t first_row,
                      std::size_t n_queries, std::size_t n_heads) {
  chunk_size_ = config.chunk_size;
  first_row_ = first_row;
  n_heads_ = n_heads;
  n_slots_ = 0;
  spans_.clear();
  for (std::size_t i = 0; i < n_queries; ++i) {
    spans_.push_back(attention_span_of(config, call, first_row + i));
    if (chooses(i)) n_slots_ = std::max(n_slots_, spans_[i].n_chosen);
  }
  n_choosers_ = spans_[0].scope == SelectionScope::kPerHead ? n_heads : 1;
  chunks_.resize(n_choosers_ * n_queries * n_slots_);
  counts_.assign(n_choosers_ * n_queries, 0);
}

void Selection::choose(std::size_t chooser, std::size_t query, std::span<Candidate> candidates) {
  const std::size_t index = chooser * n_queries() + query;
  const std::size_t n = std::min(candidates.size(), spans_[query].n_chosen);
  const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(n);
  std::partial_sort(candidates.begin(), middle, candidates.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.score > b.score || (a.score == b.score && a.chunk < b.chunk);
                    });
  const auto to = chunks_.begin() + static_cast<std::ptrdiff_t>(index * n_slots_);
  std::transform(candidates.begin(), middle, to, [](const Candidate& c) { return c.chunk; });
  std::sort(to, to + static_cast<std::ptrdiff_t>(n));
  counts_[index] = static_cast<std::uint32_t>(n);
}

void select_chunks(Context& context, const CallRows& call, const KvCache& cache,
                   MatView<const float> q) {
  Selection& selection = context.workspace.selection;
  const std::size_t n_queries = q.rows();
  selection.begin(context.attention, call, cache.size() - n_queries, n_queries,
                  context.config.n_head);
  // Later queries have as many chunks to choose from, or more.
  if (!selection.chooses(n_queries - 1)) return;

  const partition::Shard own = context.exchange.shard();
  const std::size_t n_closed = selection.n_closed(n_queries - 1);
  const Offers offers{own.count, selection.n_choosers(), n_queries,
                      std::min(selection.span(n_queries - 1).n_chosen,
                               partition::chunks_of(n_closed, {0, own.count})),
                      context.workspace.candidates};
  offers.all.assign(own.count * offers.shard_bytes() / sizeof(Candidate), {0, kNoChunk});
  const std::size_t n_groups = (n_queries + kGroupQueries - 1) / kGroupQueries;
  if (selection.span(0).scope == SelectionScope::kAllHeads) {
    offer_for_all_heads(context, cache, selection, q, offers, own.index);
  } else {
    context.pool.for_each(selection.n_heads() * n_groups, [&](std::size_t task,
                                                              std::size_t worker) {
      const std::size_t head = task / n_groups, first = task % n_groups * kGroupQueries;
      const std::size_t n = std::min(kGroupQueries, n_queries - first);
      offer_group(cache, selection, head, first, q.rows(first, n).cols(head * kHeadSize, kHeadSize),
                  offers, own.index, context.workspace.workers[worker]);
    });
  }
  std::vector<partition::Range> parts;
  for (std::size_t s = 0; s < own.count; ++s) {
    parts.push_back({s * offers.shard_bytes(), (s + 1) * offers.shard_bytes()});
  }
  context.exchange.all_gather(Traffic::kCandidates, std::as_writable_bytes(std::span(offers.all)),
                              parts);
  context.pool.for_each(
      selection.n_choosers() * n_groups, [&](std::size_t task, std::size_t worker) {
        const std::size_t chooser = task / n_groups, first = task % n_groups * kGroupQueries;
        std::vector<Candidate>& candidates = context.workspace.workers[worker].candidates;
        for (std::size_t i = first; i < std::min(first + kGroupQueries, n_queries); ++i) {
          if (!selection.chooses(i)) continue;
          candidates.clear();
          for (std::size_t s = 0; s < own.count; ++s) {
            std::ranges::copy_if(offers.of(s, chooser, i), std::back_inserter(candidates),
                                 [](const Candidate& c) { return c.chunk != kNoChunk; });
          }
          selection.choose(chooser, i, candidates);
        }
      });
  if (context.observer == nullptr) return;
  for (std::size_t chooser = 0; chooser < selection.n_choosers(); ++chooser) {
    for (std::size_t i = 0; i < n_queries; ++i) {
      if (selection.chooses(i)) {
        context.observer->see_choice(chooser, i, selection.chosen(chooser, i));
      }
    }
  }
}

}  // namespace longreach::model
