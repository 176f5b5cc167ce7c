/// What steps cost, as measured while they run: how many rows of prompts fit beside decoding.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

namespace longreach::generation {

/// Rows of a step: of decoding sequences, one each, whose logits are wanted; and of prompts.
struct StepRows {
  std::size_t n_decoding = 0, n_prompt = 0;
};

/// Running means of measured seconds. Pure: whoever runs steps hands in their times.
class StepCost {
 public:
  void observe(StepRows rows, double seconds);

  /// Of a step of decoding rows alone; nothing before a step of about as many was measured.
  std::optional<double> decoding_seconds(std::size_t n_decoding) const;

  /// How many rows of prompts a step may have beside n_decoding others, of which steps were
  /// measured, to last so many seconds; at least kLeastPromptRows, so that no prompt starves.
  std::size_t prompt_rows_within(double seconds, std::size_t n_decoding) const;

  static constexpr std::size_t kLeastPromptRows = 4;

 private:
  /// By the number of rows, in steps of powers of two.
  struct Mean {
    double n_rows = 0, seconds = 0;
  };
  std::array<std::optional<Mean>, 65> decoding_;
  /// What a row of a prompt added to the last steps that had both, and how many such rows they had.
  double seconds_per_prompt_row_ = 0;
  std::size_t n_prompt_rows_ = 0;
};

}  // namespace longreach::generation
