#include "model/cache/attention_span.hpp"

#include "kernels/recurrence/recurrence.hpp"
#include "model/reference/span.hpp"

#include <algorithm>

namespace longreach::model {
AttentionSpan attention_span_of(const AttentionConfig& config, std::size_t row) {
  if (config.mode == AttentionMode::kMoba) return {row - row % config.chunk_size, config.top_k - 1};
  LR_CHECK(config.mode == AttentionMode::kFull);
  return {0};
}

partition::AttendedRows attended_rows(const AttentionConfig& config, std::size_t n_rows) {
  if (config.mode == AttentionMode::kNone) return {};
  const AttentionSpan span = config.mode == AttentionMode::kReference
                                 ? reference::decoding_span(config, n_rows)
                                 : attention_span_of(config, n_rows);
  const std::size_t n_closed = span.first_row / config.chunk_size;
  return {.recent_tokens = n_rows - span.first_row,
          .n_chosen = std::min(span.n_chosen, n_closed),
          .n_scored = n_closed > span.n_chosen ? n_closed : 0};
}

std::size_t kept_row_bytes(base::KvFormat format) {
  return kernels::kHeadSize * base::size_of(format) + base::scale_bytes(format);
}

std::size_t attended_bytes(const AttentionConfig& config, std::size_t n_rows) {
  const partition::AttendedRows rows = attended_rows(config, n_rows);
  const std::size_t n_attended = rows.n_chosen * config.chunk_size + rows.recent_tokens;
  return 2 * n_attended * kept_row_bytes(config.kv) +
         rows.n_scored * kernels::kHeadSize * sizeof(float);
}

}  // namespace longreach::model
