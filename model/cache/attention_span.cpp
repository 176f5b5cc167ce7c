#include "model/cache/attention_span.hpp"

#include "kernels/recurrence/recurrence.hpp"
#include "model/reference/span.hpp"
#include "model/step.hpp"

#include <algorithm>

namespace longreach::model {
AttentionSpan attention_span_of(const AttentionConfig& config, std::size_t row) {
  if (config.mode == AttentionMode::kMoba) return {row - row % config.chunk_size, config.top_k - 1};
  LR_CHECK(config.mode == AttentionMode::kFull);
  return {0};
}

std::size_t prompt_step_rows(const ModelConfig& model, const AttentionConfig& attention,
                             std::size_t position) {
  constexpr std::size_t kSharing = 128;
  if (model.n_sparse == 0 || attention.mode != AttentionMode::kMoba) return kStepRows;
  const AttentionSpan span = attention_span_of(attention, position);
  const std::size_t n_closed = span.first_row / attention.chunk_size;
  if (span.n_chosen == 0 || n_closed <= span.n_chosen) return kStepRows;  // nothing is chosen
  const std::size_t n_wanted = kSharing * n_closed / span.n_chosen;
  // Whole kStepRows, so that steps end where prefixes and states are kept.
  return std::clamp(n_wanted / kStepRows * kStepRows, kStepRows, kMostStepRows);
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
