/// Rows of which every shard computes some columns, made whole.
#pragma once

#include "model/context.hpp"

namespace longreach::model {

/// How a row's columns are dealt to the shards (partition/ownership.hpp).
enum class ColumnSplit {
  kHeads,   ///< A head's channels stay together.
  kPanels,  ///< In panels of the kernels' width.
};

/// The columns of a row of `width` that a shard computes.
partition::Range columns_of(ColumnSplit split, std::size_t width, partition::Shard shard);

/// Makes rows whole, of which every shard has computed its columns. Shapes: rows [T, width].
/// Collective.
void all_gather_columns(Context& context, ColumnSplit split, base::MatView<float> rows);

}  // namespace longreach::model
