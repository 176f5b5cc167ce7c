#include "model/blocks/sparse_attention.hpp"

#include "kernels/matmul/matrix.hpp"
#include "model/blocks/column_split.hpp"
#include "model/cache/meeting.hpp"
#include "model/cache/selection.hpp"
#include "model/cache/selection_mass.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

using base::MatView;
using partition::Range;

/// A slice's projections, of which every shard has computed its own heads' columns. [T, H * 64]
struct Projections {
  MatView<float> q, k, v;
};

/// Calls part(rows, columns) for what shard `from` tells shard `to`, in the order it travels: its
/// heads' queries, and keys and values of the rows that `to` is going to keep. A part is columns
/// `columns` of one row of `rows`.
template <typename PartOf>
void for_told(const KvCache& cache, const Projections& p, std::size_t from, std::size_t to,
              std::size_t n_shards, PartOf&& part) {
  const Range columns = columns_of(ColumnSplit::kHeads, p.q.cols(), {from, n_shards});
  if (from == to || columns.size() == 0) return;
  for (std::size_t t = 0; t < p.q.rows(); ++t) {
    part(p.q.row(t).subspan(columns.begin, columns.size()));
    if (cache.owner_of_row(cache.size() + t) != to) continue;
    part(p.k.row(t).subspan(columns.begin, columns.size()));
    part(p.v.row(t).subspan(columns.begin, columns.size()));
  }
}

/// Gives every shard whole queries, and keys and values of the rows that it is going to keep.
void share_projections(Context& context, const KvCache& cache, const Projections& p) {
  const partition::Shard own = context.exchange.shard();
  if (own.count == 1) return;
  Workspace& space = context.workspace;
  std::vector<Range> sent(own.count), received(own.count);
  std::size_t n_sent = 0, n_received = 0;
  const auto place = [&](Range& range, std::size_t& n, std::size_t from, std::size_t to) {
    range.begin = n * sizeof(float);
    for_told(cache, p, from, to, own.count, [&](std::span<float> part) { n += part.size(); });
    range.end = n * sizeof(float);
  };
  for (std::size_t s = 0; s < own.count; ++s) {
    place(sent[s], n_sent, own.index, s);
    place(received[s], n_received, s, own.index);
  }
  space.sent.grow(n_sent);
  space.gathered.grow(n_received);
  float* next = space.sent.first(n_sent).data();
  for (std::size_t s = 0; s < own.count; ++s) {
    for_told(cache, p, own.index, s, own.count,
             [&](std::span<float> part) { next = std::ranges::copy(part, next).out; });
  }
  context.exchange.all_to_all(Traffic::kQueries, std::as_bytes(space.sent.first(n_sent)), sent,
                              std::as_writable_bytes(space.gathered.first(n_received)), received);
  const float* came = space.gathered.first(n_received).data();
  for (std::size_t s = 0; s < own.count; ++s) {
    for_told(cache, p, s, own.index, own.count, [&](std::span<float> part) {
      std::copy_n(came, part.size(), part.data());
      came += part.size();
    });
  }
}

}  // namespace

void sparse_attention(Context& context, const SparseBlockWeights& weights, const CallRows& call,
                      MatView<const float> x, SparseState& state, MatView<float> out) {
  if (context.attention.mode == AttentionMode::kNone) {
    for (std::size_t t = 0; t < out.rows(); ++t) std::ranges::fill(out.row(t), 0.0F);
    return;
  }
  kernels::ThreadPool& pool = context.pool;
  Workspace& space = context.workspace;
  const std::size_t n = x.rows();
  const Projections p{space.r.first(n), space.k.first(n), space.v.first(n)};
  const auto y = space.y.first(n);
  const auto own = [](MatView<float> rows, Range columns) {
    return rows.cols(columns.begin, columns.size());
  };
  kernels::multiply(pool, x, weights.receptance, own(p.q, context.extents.head_columns));
  kernels::multiply(pool, x, weights.key, own(p.k, context.extents.head_columns));
  kernels::multiply(pool, x, weights.value, own(p.v, context.extents.head_columns));
  if (Observer* const observer = context.observer; observer != nullptr) {
    const std::size_t first = context.extents.heads.begin;
    observer->see_heads("q", first, own(p.q, context.extents.head_columns));
    observer->see_heads("k", first, own(p.k, context.extents.head_columns));
    observer->see_heads("v", first, own(p.v, context.extents.head_columns));
  }
  share_projections(context, state.cache, p);
  state.cache.append(p.k, p.v, pool);

  select_chunks(context, call, state.cache, p.q);
  meet_chunks(context, state.cache, p.q, y);

  if (context.observer != nullptr) {
    measure_selection(context, state.cache, p.q);
    context.observer->see_heads("heads", context.extents.heads.begin,
                                own(y, context.extents.head_columns));
  }
  all_gather_columns(context, ColumnSplit::kHeads, y);
  kernels::multiply(pool, y, weights.output, own(out, context.extents.channels));
  all_gather_columns(context, ColumnSplit::kPanels, out);
}

}  // namespace longreach::model
