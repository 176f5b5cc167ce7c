/// The line that tells how far long work has come.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace longreach::launch {

/// "reading  42%  27525 of 65536 tokens, 1234 tokens/s, 0:31 left"; `what` is the first word.
std::string progress_text(std::string_view what, double share_done, std::size_t n_tokens,
                          double seconds);

/// One line on standard error that is overwritten a few times a second, and taken away at the end.
/// Writes nothing if standard error is no terminal.
class ProgressLine {
 public:
  /// `what` is done to the tokens, as a word that outlives this.
  explicit ProgressLine(std::size_t n_tokens, std::string_view what = "reading");
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(double share_done);

 private:
  using Clock = std::chrono::steady_clock;

  std::size_t n_tokens_;
  std::string_view what_;
  bool to_terminal_;
  bool shown_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

}  // namespace longreach::launch
