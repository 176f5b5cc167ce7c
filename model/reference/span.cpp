#include "model/reference/span.hpp"

namespace longreach::model::reference {

AttentionSpan span_of(const AttentionConfig& config, const CallRows& call, std::size_t row) {
  const std::size_t window = config.chunk_size * config.top_k;
  if (call.n_tokens > 1) {
    if (call.first_row + call.n_tokens <= window) return {0};
    // Chunks are counted from the call's first token and the cache is ignored.
    return {row - (row - call.first_row) % config.chunk_size};
  }
  if (row <= window || config.decode_full) return {0};
  return {row - row % config.chunk_size, config.top_k};
}

AttentionSpan decoding_span(const AttentionConfig& config, std::size_t n_rows) {
  return span_of(config, {n_rows, 1}, n_rows);
}

}  // namespace longreach::model::reference
