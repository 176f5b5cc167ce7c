#include "model/cache/chunk_attention.hpp"

namespace longreach::model {

using base::MatView;
using kernels::kHeadSize;

namespace {

/// Blocks of rows that a query sees of a chunk, whose first row it sees.
std::size_t n_blocks(const ChunkVisit& visit) {
  return (visit.last + kernels::kAttentionBlockRows - 1) / kernels::kAttentionBlockRows;
}

}  // namespace

ChunkAttention::ChunkAttention(Context& context, MatView<const float> q)
    : context_(context), q_(q), weighed_(context.observer->weighed()) {
  context.workspace.totals.assign(own_heads().size() * q.rows(), {});
  for (WorkerScratch& worker : context.workspace.workers) {
    worker.weighed.clear();
    worker.span_weights.clear();
    worker.weights.clear();
  }
}

QueryGroups ChunkAttention::largest_groups() const {
  constexpr std::size_t kTasksPerThread = 4;  // so that the last ones end at about the same time
  const std::size_t n_threads = context_.pool.size(), n_heads = own_heads().size();
  const std::size_t n_wanted =
      n_threads == 1 ? 1 : (kTasksPerThread * n_threads + n_heads - 1) / n_heads;
  return {n_queries(), std::max((n_queries() + n_wanted - 1) / n_wanted, kGroupQueries)};
}

void ChunkAttention::finish(MatView<float> y) {
  context_.pool.for_each(n_queries(), [&](std::size_t t, std::size_t) {
    for (std::size_t head = own_heads().begin; head < own_heads().end; ++head) {
      kernels::finish(total(head, t), y.row(t).subspan(head * kHeadSize, kHeadSize));
    }
  });
}

void ChunkAttention::make_room_for_weights(std::size_t head, std::span<const ChunkVisit> visits,
                                           WorkerScratch& scratch) const {
  std::size_t next = scratch.span_weights.size(), n_new = 0;
  for (const ChunkVisit& visit : visits) {
    if (!weighed_.test(visit.query)) continue;
    scratch.weighed.push_back({head, visit});
    n_new += n_blocks(visit);
  }
  scratch.span_weights.resize(next + n_new);
  scratch.weights.clear();
  for (const ChunkVisit& visit : visits) {
    const bool is_weighed = weighed_.test(visit.query);
    scratch.weights.push_back(is_weighed ? &scratch.span_weights[next] : nullptr);
    if (is_weighed) next += n_blocks(visit);
  }
}

std::vector<SoftmaxSum> ChunkAttention::softmax_sums(Partials partials) {
  const std::size_t n_weighed = weighed_.count();
  std::vector<SoftmaxSum> sums(selection().n_heads() * n_weighed);
  auto next = sums.begin() + static_cast<std::ptrdiff_t>(own_heads().begin * n_weighed);
  for (std::size_t head = own_heads().begin; head < own_heads().end; ++head) {
    for (std::size_t i = 0; i < n_queries(); ++i) {
      if (weighed_.test(i)) *next++ = {total(head, i).max, total(head, i).weight};
    }
  }
  if (partials == Partials::kStay) return sums;
  std::vector<partition::Range> parts;
  for (std::size_t s = 0; s < context_.exchange.shard().count; ++s) {
    const std::size_t head_bytes = n_weighed * sizeof(SoftmaxSum);
    parts.push_back({heads_of(s).begin * head_bytes, heads_of(s).end * head_bytes});
  }
  context_.exchange.all_gather(Traffic::kMasses, std::as_writable_bytes(std::span(sums)), parts);
  return sums;
}

void ChunkAttention::report_shares(Partials partials) {
  if (weighed_.none()) return;
  const std::vector<SoftmaxSum> sums = softmax_sums(partials);
  std::vector<std::size_t> places(n_queries());  // among the weighed queries
  for (std::size_t i = 1; i < n_queries(); ++i) places[i] = places[i - 1] + weighed_.test(i - 1);
  for (WorkerScratch& worker : context_.workspace.workers) {
    auto block = worker.span_weights.begin();
    for (const auto& [head, visit] : worker.weighed) {
      const SoftmaxSum& sum = sums[head * weighed_.count() + places[visit.query]];
      const std::size_t first_row = number_of(visit.chunk) * selection().chunk_size();
      for (std::size_t row = 0; row < visit.last; row += kernels::kAttentionBlockRows, ++block) {
        kernels::normalise(sum.max, sum.weight, *block);
        const std::size_t n_rows = std::min(visit.last - row, kernels::kAttentionBlockRows);
        const std::size_t n_spans = (n_rows + kernels::kSpanRows - 1) / kernels::kSpanRows;
        context_.observer->see_shares(head, visit.query, first_row + row, n_rows,
                                      std::span(block->spans).first(n_spans));
      }
    }
  }
}

}  // namespace longreach::model
