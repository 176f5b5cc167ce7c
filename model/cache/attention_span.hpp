/// Which rows of the cache the query of a row may see, and who chooses among the chunks before
/// them.
#pragma once

#include "model/schema/config.hpp"
#include "partition/memory.hpp"

#include <cstddef>

namespace longreach::model {

/// The call that a slice belongs to, as mode `reference` needs to know it.
struct CallRows {
  std::size_t first_row;  ///< Rows in the cache when the call began, after eviction.
  std::size_t n_tokens;   ///< Of the whole call.
};

/// Who chooses among the closed chunks before first_row.
enum class SelectionScope { kNone, kPerHead, kAllHeads };

/// What a query sees: n_chosen closed chunks, and all rows from first_row up to its own.
struct AttentionSpan {
  std::size_t first_row;
  SelectionScope scope = SelectionScope::kNone;
  std::size_t n_chosen = 0;
};

/// What the query of that cache row sees. Source: model-spec sections 4.1 to 4.3.
AttentionSpan attention_span_of(const AttentionConfig& config, const CallRows& call,
                                std::size_t row);

/// What decoding one more token reads of a cache of n_rows rows.
partition::AttendedRows attended_rows(const AttentionConfig& config, std::size_t n_rows);

/// Bytes of keys, values and means that decoding one more token reads from a cache of n_rows rows,
/// per head.
std::size_t attended_bytes(const AttentionConfig& config, std::size_t n_rows);

}  // namespace longreach::model
