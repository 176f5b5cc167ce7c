/// What `bench` prints of one measurement.
#pragma once

#include "launch/open_model.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

/// Of streams that decode at once.
struct TokenTimes {
  std::vector<double> intervals;  ///< Seconds between consecutive tokens of a stream.
  double seconds = 0;             ///< In which they came.

  TokenTimes& operator+=(const TokenTimes& other);
};

/// What a prompt and streams that decode cost each other.
struct MixedTimes {
  std::size_t n_prompt = 0;            ///< Tokens.
  std::optional<double> step_ms;       ///< If the user chose it.
  TokenTimes without_prompt;           ///< In all repeats.
  TokenTimes with_prompt;              ///< The same.
  std::vector<double> alone;           ///< Seconds of the prompt without streams, in each repeat.
  std::vector<double> beside_streams;  ///< The same beside them.
};

/// One measurement, whatever the question.
struct BenchResult {
  std::string_view question;
  std::string_view part;  ///< Which of the question's exchanges; empty: it has none.
  partition::Grid grid;
  std::size_t context = 0;
  std::size_t n_streams = 1;          ///< Sequences at once.
  bool forks = false;                 ///< Of one context.
  std::size_t n_tokens = 0;           ///< Of a repeat, in each stream.
  std::size_t n_warmups = 0;          ///< Repeats before those that count.
  std::vector<double> seconds;        ///< Per token of any stream, of each repeat.
  std::vector<double> eighths;        ///< Seconds per token in each eighth of a long prompt.
  std::size_t n_exchanges = 0;        ///< Of this part, per token.
  std::size_t n_jobs = 0;             ///< Of a rank's threads, per token, of this question.
  std::size_t bytes_per_token = 0;    ///< Read; for exchanges, sent.
  std::size_t read_memory_bytes = 0;  ///< By each rank, to know the next one.
  std::vector<double>
      read_bandwidths;  ///< Bytes a second, of all ranks together, beside each repeat.
  std::optional<MixedTimes> mixed;
};

/// The middle of the values, or of the two in the middle. Requires: at least one value.
double median(std::vector<double> values);

/// The smallest of the values that so large a share of them does not exceed. The same is required.
double percentile(std::vector<double> values, double share);

/// The object in one line, with its end.
std::string json_line(const OpenedModel& opened, const BenchResult& result);

}  // namespace longreach::launch
