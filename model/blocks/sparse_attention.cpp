#include "model/blocks/sparse_attention.hpp"

#include "model/blocks/column_split.hpp"
#include "model/blocks/linear_product.hpp"
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

/// A step's projections, of which every shard has computed its heads' columns, [T, H * 64]; q of
/// the rows that have a query.
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
    for (std::size_t row = 0; row < p.q.rows(); ++row) part(p.q, row);
    for (const SegmentCache& segment : caches) {
      for (std::size_t t = 0; t < segment.n_rows; ++t) {
        const std::size_t row = segment.first_row + t;
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

/// The segments of the rows that have a query: of `last`, or of all.
std::vector<SegmentCache> query_segments(std::span<const SegmentCache> caches,
                                         const LastRows* last) {
  std::vector<SegmentCache> segments(caches.begin(), caches.end());
  for (std::size_t s = 0; last != nullptr && s < segments.size(); ++s) {
    segments[s].first_row = last->step.first_row(s);
    segments[s].n_rows = last->step.segments()[s].n_rows;
  }
  return segments;
}

/// Where the rows of `last` are in their caches, to which all rows have been appended.
std::vector<std::size_t> cache_rows(std::span<const SegmentCache> caches, const LastRows& last) {
  std::vector<std::size_t> rows;
  for (const std::size_t row : last.rows) {
    const SegmentCache& segment = caches[last.step.segment_of(rows.size())];
    rows.push_back(segment.cache->size() - segment.n_rows + row - segment.first_row);
  }
  return rows;
}

}  // namespace

void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, MatView<float> x, const LastRows* last,
                      const SelectChunks& select, MatView<float> y) {
  kernels::ThreadPool& pool = context.pool;
  Workspace& space = context.workspace;
  const std::size_t n = x.rows(), n_queries = last == nullptr ? n : last->rows.size();
  const Projections p{space.r.first(n_queries), space.k.first(n), space.v.first(n)};
  const auto own_heads = [&](MatView<float> rows) {
    const Range columns = context.extents.head_columns;
    return rows.cols(columns.begin, columns.size());
  };
  ProductGroup products(context);
  products.add(x, weights.key, own_heads(p.k));
  products.add(x, weights.value, own_heads(p.v));
  if (last != nullptr) {
    products.multiply();
    last->gather(x);
  }
  products.add(x.rows(0, n_queries), weights.receptance, own_heads(p.q));
  products.multiply();
  const std::size_t first_head = context.extents.heads.begin;
  context.observer->see_heads("q", first_head, own_heads(p.q));
  context.observer->see_heads("k", first_head, own_heads(p.k));
  context.observer->see_heads("v", first_head, own_heads(p.v));

  exchange_projections(context, caches, p);
  append_segments(caches, p.k, p.v, pool);
  select(query_segments(caches, last), p.q);
  y = y.rows(0, n_queries);
  attend_chunks(context, p.q, y);
  measure_selection(context, p.q);
  context.observer->see_heads("heads", first_head, own_heads(y));
}

void sparse_attention(Context& context, const SparseBlockWeights& weights,
                      std::span<const SegmentCache> caches, MatView<float> x, const LastRows* last,
                      MatView<float> y) {
  if (context.attention.mode == AttentionMode::kNone) {
    for (std::size_t t = 0; t < y.rows(); ++t) std::ranges::fill(y.row(t), 0.0F);
    return;
  }
  const SelectChunks select = [&](std::span<const SegmentCache> segments, MatView<const float> q) {
    const auto begin = [&](auto&& row_of) {
      context.workspace.selection.begin(
          segments, context.config.n_head, context.attention.chunk_size,
          [&](std::size_t row) { return attention_span_of(context.attention, row); }, row_of);
    };
    if (last == nullptr) {
      begin(NewestRow());
    } else {
      begin([rows = cache_rows(caches, *last)](const SegmentCache& segment, std::size_t i) {
        return rows[segment.first_row + i];
      });
    }
    select_chunks(context, q);
  };
  sparse_attention(context, weights, caches, x, last, select, y);
}

}  // namespace longreach::model
