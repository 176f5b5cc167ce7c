/// What a run of `generate` reports about itself at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace longreach::launch {

/// Counts and times of one run.
struct RunStatistics {
  std::size_t n_prompt = 0;  ///< Tokens of the prompt.
  double share_read = 0;     ///< Of the prompt, 0..1; below 1 when the run was stopped there.
  double prompt_seconds = 0;
  std::size_t n_generated = 0;      ///< Tokens written; an end or stop token is not.
  std::size_t n_decode_calls = 0;   ///< Calls of one token, each giving the logits of the next.
  double decode_seconds = 0;        ///< Of these calls, with sampling and writing.
  std::size_t bytes_per_token = 0;  ///< Read from memory by a decode call.
  std::uint64_t seed = 0;
  std::string stop_reason;
  std::string logits_hash;  ///< SHA-256 of all logits tokens were drawn from, hexadecimal.
};

/// The one line, without line end.
std::string statistics_text(const RunStatistics& statistics);

}  // namespace longreach::launch
