/// What queries see in mode `reference`.
#pragma once

#include "model/cache/attention_span.hpp"

#include <cstddef>

namespace longreach::model::reference {

/// A call of the released package, which decides what its queries see.
struct CallRows {
  std::size_t first_row;  ///< Rows in the cache when the call began, after eviction.
  std::size_t n_tokens;   ///< Of the whole call.
};

/// What the query of a cache row of the call sees. Source: model-spec section 4.3.
AttentionSpan span_of(const AttentionConfig& config, const CallRows& call, std::size_t row);

/// The same of a call of one token that finds n_rows rows.
AttentionSpan decoding_span(const AttentionConfig& config, std::size_t n_rows);

}  // namespace longreach::model::reference
