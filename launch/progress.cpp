#include "launch/progress.hpp"

#include "kernels/base/seconds.hpp"
#include "kernels/base/write_all.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace longreach::launch {
namespace {

constexpr std::chrono::milliseconds kPause{250}, kPlainPause{60'000};

/// "0:31" or "2:05:09".
std::string clock_text(double seconds) {
  const auto total = static_cast<long>(std::min(std::ceil(seconds), 1e6 * 3600));
  const long hours = total / 3600, minutes = total / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

/// ", 45210 tokens/s, 3:21 left"; nothing before anything is known.
std::string pace_text(std::size_t n_tokens_read, double seconds, double share_done) {
  if (share_done <= 0 || seconds <= 0) return {};
  return fmt::format(", {:.0f} tokens/s, {} left", static_cast<double>(n_tokens_read) / seconds,
                     clock_text(seconds * (1 - share_done) / share_done));
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

std::string progress_text(std::string_view what, std::size_t n_done, std::size_t n_all,
                          std::size_t n_tokens_read, double seconds, double share_done) {
  return fmt::format("{} of {} {}{}", n_done, n_all, what,
                     pace_text(n_tokens_read, seconds, share_done));
}

std::string progress_text(const eval::RunProgress& progress) {
  std::string text = fmt::format("{} of {} questions", progress.n_done, progress.n_questions);
  if (progress.n_done > 0) {
    text += progress.unit == eval::ScoreUnit::kNats
                ? fmt::format(", loss {:.4f}", progress.mean_score)
                : fmt::format(", score {:.1f}%", 100 * progress.mean_score);
  }
  return text + pace_text(progress.n_tokens_read, progress.seconds, progress.share_done);
}

StatusLine::StatusLine(PlainLines plain_lines)
    : to_terminal_(::isatty(STDERR_FILENO) == 1), plain_lines_(plain_lines), next_(Clock::now()) {
  if (!to_terminal_) next_ += kPlainPause;
}

StatusLine::~StatusLine() {
  if (shown_ && to_terminal_) base::write_message("\r\x1b[K");
}

void StatusLine::update(const std::function<std::string()>& text) {
  const Clock::time_point now = Clock::now();
  if (now < next_ || (!to_terminal_ && plain_lines_ == PlainLines::kNone)) return;
  next_ = now + (to_terminal_ ? kPause : kPlainPause);
  shown_ = true;
  if (to_terminal_) {
    base::write_message(fmt::format("\r{}\x1b[K", text()));
  } else {
    base::write_message(text() + "\n");
  }
}

void ProgressLine::update(double share_done) {
  line_.update([&] {
    const double seconds = base::seconds_since(start_);
    return progress_text(what_, share_done, n_tokens_, seconds);
  });
}

}  // namespace longreach::launch
