#include "model/blocks/sparse_attention.hpp"

#include "kernels/matmul/matrix.hpp"
#include "model/blocks/column_split.hpp"
#include "model/cache/distributed_attention.hpp"
#include "model/cache/selection.hpp"
#include "model/cache/selection_mass.hpp"
#include "model/transfer_plan.hpp"

#include <algorithm>
#include <cstring>

namespace longreach::model {
namespace {

using base::MatView;
using partition::Range;

/// A step's projections, of which every shard has computed its heads' columns. [T, H * 64]
struct Projections {
  MatView<float> q, k, v;
};

/// Gives every shard whole queries, and keys and values of the rows that it is going to keep.
void exchange_projections(Context& context, std::span<const SegmentCache> caches,
                          const Projections& p) {
  const std::size_t n_shards = context.exchange.shard().count;
  if (n_shards == 1) return;
  // An item is the columns of a shard's heads in one row.
  const auto for_items = [&](std::size_t from, std::size_t to, auto&& item) {
    const Range columns = columns_of(ColumnSplit::kHeads, p.q.cols(), {from, n_shards});
    if (from == to || columns.size() == 0) return;
    const auto part = [&](MatView<float> rows, std::size_t row) {
      item(rows.row(row).subspan(columns.begin, columns.size()));
    };
    for (const SegmentCache& segment : caches) {
      for (std::size_t t = 0; t < segment.n_rows; ++t) {
        const std::size_t row = segment.first_row + t;
        part(p.q, row);
        if (segment.cache->owner_of_row(segment.cache->size() + t) != to) continue;
        part(p.k, row);
        part(p.v, row);
      }
    }
  };
  exchange_items(
      context, Traffic::kQueries, for_items,
      [](std::span<float> item) { return item.size_bytes(); },
      [](std::span<float> item, std::byte* to) { std::memcpy(to, item.data(), item.size_bytes()); },
      [](std::span<float> item, const std::byte* from) {
        std::memcpy(item.data(), from, item.size_bytes());
      });
}

}  // namespace

void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, MatView<const float> x,
                      const SelectChunks& select, MatView<float> out) {
  kernels::ThreadPool& pool = context.pool;
  Workspace& space = context.workspace;
  const std::size_t n = x.rows();
  const Projections p{space.r.first(n), space.k.first(n), space.v.first(n)};
  const auto y = space.y.first(n);
  const auto own_heads = [&](MatView<float> rows) {
    const Range columns = context.extents.head_columns;
    return rows.cols(columns.begin, columns.size());
  };
  kernels::multiply(pool, x, weights.receptance, own_heads(p.q));
  kernels::multiply(pool, x, weights.key, own_heads(p.k));
  kernels::multiply(pool, x, weights.value, own_heads(p.v));
  const std::size_t first_head = context.extents.heads.begin;
  context.observer->see_heads("q", first_head, own_heads(p.q));
  context.observer->see_heads("k", first_head, own_heads(p.k));
  context.observer->see_heads("v", first_head, own_heads(p.v));

  exchange_projections(context, caches, p);
  append_segments(caches, p.k, p.v, pool);
  select(caches, p.q);
  attend_chunks(context, p.q, y);
  measure_selection(context, p.q);
  context.observer->see_heads("heads", first_head, own_heads(y));

  all_gather_columns(context, ColumnSplit::kHeads, y);
  const Range channels = context.extents.channels;
  kernels::multiply(pool, y, weights.output, out.cols(channels.begin, channels.size()));
  all_gather_columns(context, ColumnSplit::kPanels, out);
}

void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, MatView<const float> x,
                      MatView<float> out) {
  if (context.attention.mode == AttentionMode::kNone) {
    for (std::size_t t = 0; t < out.rows(); ++t) std::ranges::fill(out.row(t), 0.0F);
    return;
  }
  const SelectChunks select = [&context](std::span<const SegmentCache> appended,
                                         MatView<const float> q) {
    context.workspace.selection.begin(
        appended, context.config.n_head, context.attention.chunk_size,
        [&](std::size_t row) { return attention_span_of(context.attention, row); });
    select_chunks(context, q);
  };
  sparse_attention(context, weights, caches, x, select, out);
}

}  // namespace longreach::model
