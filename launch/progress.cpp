#include "launch/progress.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace longreach::launch {
namespace {

constexpr std::chrono::milliseconds kPause{250};

/// "0:31" or "2:05:09".
std::string clock_text(double seconds) {
  const auto total = static_cast<long>(std::min(std::ceil(seconds), 1e6 * 3600));
  const long hours = total / 3600, minutes = total / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

}  // namespace

std::string progress_text(std::string_view what, double share_done, std::size_t n_tokens,
                          double seconds) {
  const double n_done = share_done * static_cast<double>(n_tokens);
  std::string text = fmt::format("{} {:3.0f}%  {:.0f} of {} tokens", what,
                                 std::floor(share_done * 100), n_done, n_tokens);
  if (n_done > 0 && seconds > 0) {
    text += fmt::format(", {:.0f} tokens/s, {} left", n_done / seconds,
                        clock_text(seconds * (1 - share_done) / share_done));
  }
  return text;
}

ProgressLine::ProgressLine(std::size_t n_tokens, std::string_view what)
    : n_tokens_(n_tokens), what_(what), to_terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
}

void ProgressLine::update(double share_done) {
  const Clock::time_point now = Clock::now();
  if (!to_terminal_ || now < next_) return;
  next_ = now + kPause;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  fmt::print(stderr, "\r{}\x1b[K", progress_text(what_, share_done, n_tokens_, seconds));
}

}  // namespace longreach::launch
