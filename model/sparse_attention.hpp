/// Sparse attention: which rows of the KV cache a query sees, and the attention over them.
#pragma once

#include "model/context.hpp"
#include "model/state.hpp"

#include <cstddef>

namespace longreach::model {

/// The call that a slice belongs to, as mode `reference` needs to know it.
struct CallRows {
  std::size_t first_row;  ///< Rows in the cache when the call began, after eviction.
  std::size_t n_tokens;   ///< Of the whole call.
};

/// Sparse attention of a slice: projects it, adds it to the cache, attends, projects back.
/// Shapes: x, out [T, C], T <= kSliceTokens; x already normalised.
/// Source: model-spec sections 4.1 to 4.3.
void sparse_attention(Context& context, const SparseBlockWeights& weights, const CallRows& call,
                      base::MatView<const float> x, SparseState& state, base::MatView<float> out);

/// What decoding one more token reads of a cache of n_rows rows.
partition::AttendedRows attended_rows(const AttentionConfig& config, std::size_t n_rows);

/// Bytes of keys, values and means that decoding one more token reads from a cache of n_rows rows,
/// per head.
std::size_t attended_bytes(const AttentionConfig& config, std::size_t n_rows);

}  // namespace longreach::model
