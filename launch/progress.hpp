/// The line that tells how far a long prompt has been read.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace longreach::launch {

/// "reading  42%  27525 of 65536 tokens, 1234 tokens/s, 0:31 left".
std::string progress_text(double share_done, std::size_t n_tokens, double seconds);

/// One line on standard error that is overwritten a few times a second, and taken away at the end.
/// Writes nothing if standard error is no terminal.
class ProgressLine {
 public:
  explicit ProgressLine(std::size_t n_tokens);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(double share_done);

 private:
  using Clock = std::chrono::steady_clock;

  std::size_t n_tokens_;
  bool to_terminal_;
  bool shown_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

}  // namespace longreach::launch
