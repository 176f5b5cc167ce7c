#include "launch/statistics.hpp"

#include <fmt/format.h>

#include <cmath>

namespace longreach::launch {
namespace {

constexpr std::size_t kHashDigits = 16;  // enough to see a difference

}  // namespace

std::string statistics_text(const RunStatistics& statistics) {
  const double n_read =
      std::floor(statistics.share_read * static_cast<double>(statistics.n_prompt));
  std::string text =
      statistics.share_read < 1 ? fmt::format("prompt {:.0f} of ", n_read) : "prompt ";
  text += fmt::format("{} tokens", statistics.n_prompt);
  if (n_read > 0 && statistics.prompt_seconds > 0) {
    text += fmt::format(", {:.1f} tokens/s", n_read / statistics.prompt_seconds);
  }
  text += fmt::format("; generated {} tokens", statistics.n_generated);
  if (statistics.n_decode_calls > 0 && statistics.decode_seconds > 0) {
    const double tokens_per_second =
        static_cast<double>(statistics.n_decode_calls) / statistics.decode_seconds;
    text += fmt::format(", {:.1f} tokens/s, {:.3f} ms/token, {:.2f} GB/s", tokens_per_second,
                        1e3 / tokens_per_second,
                        static_cast<double>(statistics.bytes_per_token) * tokens_per_second / 1e9);
  }
  return text + fmt::format("; seed {}; stopped by {}; logits {}", statistics.seed,
                            statistics.stop_reason, statistics.logits_hash.substr(0, kHashDigits));
}

}  // namespace longreach::launch
