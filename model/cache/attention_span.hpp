/// Which rows of the cache the query of a row sees.
#pragma once

#include "model/schema/config.hpp"
#include "partition/memory.hpp"

#include <cstddef>

namespace longreach::model {

/// What a query sees: of the closed chunks before first_row the n_chosen it chooses, or all if they
/// are no more; and all rows from first_row up to its own.
struct AttentionSpan {
  std::size_t first_row;  ///< A multiple of the chunk size where chunks are chosen.
  std::size_t n_chosen = 0;
};

/// What the query of that cache row sees, in modes moba and full.
/// Source: model-spec sections 4.1 and 4.2.
AttentionSpan attention_span_of(const AttentionConfig& config, std::size_t row);

/// Rows of a prompt that a step should have behind `position` tokens: kStepRows, or so many that
/// about 128 queries of a head choose each closed chunk and share its reading, as far as
/// kMostStepRows go.
std::size_t prompt_step_rows(const ModelConfig& model, const AttentionConfig& attention,
                             std::size_t position);

/// What decoding one more token reads of a cache of n_rows rows; in any mode.
partition::AttendedRows attended_rows(const AttentionConfig& config, std::size_t n_rows);

/// Bytes of a key, or of a value, as the cache keeps it; of one head.
std::size_t kept_row_bytes(base::KvFormat format);

/// Bytes of keys, values and means that decoding one more token reads from a cache of n_rows rows,
/// per head.
std::size_t attended_bytes(const AttentionConfig& config, std::size_t n_rows);

}  // namespace longreach::model
