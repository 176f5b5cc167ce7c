/// The line that shows how far long work has come.
#pragma once

#include "eval/run_progress.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace longreach::launch {

/// "reading  42%  27525 of 65536 tokens, 1234 tokens/s, 0:31 left"; `what` is the first word.
std::string progress_text(std::string_view what, double share_done, std::size_t n_tokens,
                          double seconds);

/// "12 of 1000 prompts, 45210 tokens/s, 3:21 left".
std::string progress_text(std::string_view what, std::size_t n_done, std::size_t n_all,
                          std::size_t n_tokens_read, double seconds, double share_done);

/// "12 of 50 questions, score 91.7%, 45210 tokens/s, 3:21 left".
std::string progress_text(const eval::RunProgress& progress);

/// What a status line does when standard error is no terminal.
enum class PlainLines { kNone, kEveryMinute };

/// One line on standard error that is overwritten a few times a second, and taken away at the end.
/// Without a terminal: nothing, or a plain line a minute.
class StatusLine {
 public:
  explicit StatusLine(PlainLines plain_lines);
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  /// Asks for the text only when it is to be shown.
  void update(const std::function<std::string()>& text);

 private:
  using Clock = std::chrono::steady_clock;

  bool to_terminal_;
  PlainLines plain_lines_;
  bool shown_ = false;
  Clock::time_point next_;
};

/// The status line of a long prompt.
class ProgressLine {
 public:
  /// `what` is done to the tokens, as a word that outlives this.
  explicit ProgressLine(std::size_t n_tokens, std::string_view what = "reading")
      : n_tokens_(n_tokens), what_(what) {}

  void update(double share_done);

 private:
  using Clock = std::chrono::steady_clock;

  std::size_t n_tokens_;
  std::string_view what_;
  StatusLine line_{PlainLines::kNone};
  Clock::time_point start_ = Clock::now();
};

}  // namespace longreach::launch
