/// What `bench` prints of one measurement.
#pragma once

#include "launch/open_model.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

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
  std::size_t bytes_per_token = 0;    ///< Read; for exchanges, sent.
  std::size_t read_memory_bytes = 0;  ///< By each rank, to know the next one.
  std::vector<double>
      read_bandwidths;  ///< Bytes a second, of all ranks together, beside each repeat.
};

/// The middle of the values, or of the two in the middle. Requires: at least one value.
double median(std::vector<double> values);

/// The object in one line, with its end.
std::string json_line(const OpenedModel& opened, const BenchResult& result);

}  // namespace longreach::launch
