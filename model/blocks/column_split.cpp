#include "model/blocks/column_split.hpp"

namespace longreach::model {
namespace {

using base::MatView;
using partition::Range;

}  // namespace

Range columns_of(ColumnSplit split, std::size_t width, partition::Shard shard) {
  if (split == ColumnSplit::kPanels) return partition::columns_of(width, shard);
  const Range heads = partition::heads_of(width / kernels::kHeadSize, shard);
  return {heads.begin * kernels::kHeadSize, heads.end * kernels::kHeadSize};
}

void all_gather_columns(Context& context, ColumnSplit split, MatView<float> rows) {
  const partition::Shard own = context.exchange.shard();
  if (own.count == 1) return;
  const auto columns = [&](std::size_t shard) {
    return columns_of(split, rows.cols(), {shard, own.count});
  };
  std::vector<Range> parts(own.count);
  for (std::size_t s = 0; s < own.count; ++s) {
    const std::size_t row_bytes = rows.rows() * sizeof(float);
    parts[s] = {columns(s).begin * row_bytes, columns(s).end * row_bytes};
  }
  if (rows.rows() == 1) {  // lies as it travels
    context.exchange.all_gather(Traffic::kColumns, std::as_writable_bytes(rows.row(0)), parts);
    return;
  }
  // A shard's columns travel as rows of their own.
  context.workspace.received.grow(rows.rows() * rows.cols());
  const std::span<float> all = context.workspace.received.first(rows.rows() * rows.cols());
  const auto travelling = [&](std::size_t shard) {
    const Range range = columns(shard);
    return MatView<float>(all.data() + range.begin * rows.rows(), rows.rows(), range.size());
  };
  const auto lying = [&](std::size_t shard) {
    return rows.cols(columns(shard).begin, columns(shard).size());
  };
  base::copy_rows(lying(own.index), travelling(own.index));
  context.exchange.all_gather(Traffic::kColumns, std::as_writable_bytes(all), parts);
  context.pool.for_each(own.count, [&](std::size_t shard, std::size_t) {
    if (shard != own.index) base::copy_rows(travelling(shard), lying(shard));
  });
}

}  // namespace longreach::model
