/// What steps cost, as measured while they run: how many rows of prompts fit beside decoding.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

namespace longreach::generation {

/// Rows of a step: of decoding sequences, one each, whose logits are wanted; and of prompts.
struct StepRows {
  std::size_t n_decoding = 0, n_prompt = 0;
};

/// The last measured times, of which a single slow one does not count. Pure: whoever runs steps
/// hands in their times.
class StepCost {
 public:
  void observe(StepRows rows, double seconds);

  /// Of a step of decoding rows alone; nothing before kLeastTimes of about as many were
  /// measured.
  std::optional<double> decoding_seconds(std::size_t n_decoding) const;

  /// How many rows of prompts a step may have beside n_decoding others to last so many seconds; at
  /// least kLeastPromptRows, so that no prompt starves. Where the others were not measured, they
  /// count as nothing.
  std::size_t prompt_rows_within(double seconds, std::size_t n_decoding) const;

  static constexpr std::size_t kLeastPromptRows = 4;

 private:
  struct Time {
    double n_rows = 0, seconds = 0;
  };
  static constexpr std::size_t kLeastTimes = 2, kDecodingTimes = 3, kPromptTimes = 8;

  /// Of steps of decoding rows alone, by the number of rows, in steps of powers of two.
  std::array<std::vector<Time>, 65> decoding_;
  /// What the prompt rows of steps that had both kinds added.
  std::vector<Time> added_;
};

}  // namespace longreach::generation
