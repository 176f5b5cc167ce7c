#include "model/cache/attention_span.hpp"

#include "kernels/recurrence/recurrence.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

AttentionSpan reference_span(const AttentionConfig& config, const CallRows& call, std::size_t row) {
  const std::size_t window = config.chunk_size * config.top_k;
  if (call.n_tokens > 1) {
    if (call.first_row + call.n_tokens <= window) return {0};
    // Chunks are counted from the call's first token and the cache is ignored.
    return {row - (row - call.first_row) % config.chunk_size};
  }
  if (row <= window || config.decode_full) return {0};
  return {row - row % config.chunk_size, SelectionScope::kAllHeads, config.top_k};
}

}  // namespace

AttentionSpan attention_span_of(const AttentionConfig& config, const CallRows& call,
                                std::size_t row) {
  switch (config.mode) {
    case AttentionMode::kMoba:
      return {row - row % config.chunk_size, SelectionScope::kPerHead, config.top_k - 1};
    case AttentionMode::kFull:
    case AttentionMode::kNone:  // whose cache stays empty
      return {0};
    case AttentionMode::kReference:
      return reference_span(config, call, row);
  }
  return {0};
}

partition::AttendedRows attended_rows(const AttentionConfig& config, std::size_t n_rows) {
  if (config.mode == AttentionMode::kNone) return {};
  const AttentionSpan span = attention_span_of(config, {n_rows, 1}, n_rows);
  const std::size_t n_closed = span.first_row / config.chunk_size;
  return {.recent_tokens = n_rows - span.first_row,
          .n_chosen = std::min(span.n_chosen, n_closed),
          .n_scored = n_closed > span.n_chosen ? n_closed : 0};
}

std::size_t attended_bytes(const AttentionConfig& config, std::size_t n_rows) {
  const partition::AttendedRows rows = attended_rows(config, n_rows);
  const std::size_t n_attended = rows.n_chosen * config.chunk_size + rows.recent_tokens;
  const std::size_t row_bytes =
      kernels::kHeadSize * base::size_of(config.kv) + base::scale_bytes(config.kv);
  return 2 * n_attended * row_bytes + rows.n_scored * kernels::kHeadSize * sizeof(float);
}

}  // namespace longreach::model
