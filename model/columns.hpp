/// Rows of which every shard computes some columns, made whole.
#pragma once

#include "model/context.hpp"

namespace longreach::model {

/// How a row's columns are dealt to the shards (partition/ownership.hpp).
enum class Dealing {
  kHeads,   ///< A head's channels stay together.
  kPanels,  ///< In panels of the kernels' width.
};

/// The columns of a row of `width` that a shard computes.
partition::Range columns_of(Dealing dealing, std::size_t width, partition::Shard shard);

/// Makes rows whole, of which every shard has computed its columns. Shapes: rows [T, width].
/// Collective.
void share_columns(Context& context, Dealing dealing, base::MatView<float> rows);

}  // namespace longreach::model
