#include "dist/engine/save_reports.hpp"

#include "dist/context/context_part.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace longreach::dist {

SaveReports::SaveReports(Communicator& ranks) : ranks_(ranks.split(0)) {}

void SaveReports::send(const std::string& error) {
  finish();
  leaving_ = {};
  std::ranges::copy(error.substr(0, leaving_.error.size() - 1), leaving_.error.begin());
  sent_ = ranks_->send(std::as_bytes(std::span(&leaving_, 1)), 0);
}

void SaveReports::expect(std::size_t n_tokens) {
  Expected& expected =
      expected_.emplace_back(Expected{n_tokens, std::vector<SaveReport>(ranks_->size() - 1), {}});
  for (std::size_t rank = 1; rank < ranks_->size(); ++rank) {
    expected.messages.push_back(
        ranks_->receive(std::as_writable_bytes(std::span(&expected.reports[rank - 1], 1)), rank));
  }
}

void SaveReports::take() {
  const Expected oldest = std::move(expected_.front());
  expected_.pop_front();
  for (std::size_t i = 0; i < oldest.reports.size(); ++i) {
    const auto& error = oldest.reports[i].error;
    if (error[0] != '\0') throw SaveError(fmt::format("rank {}: {}", i + 1, error.data()));
  }
  n_written_ = oldest.n_tokens;
}

std::size_t SaveReports::poll() {
  const auto done = [](const auto& message) { return message->done(); };
  while (!expected_.empty() && std::ranges::all_of(expected_.front().messages, done)) take();
  return n_written_;
}

void SaveReports::wait() {
  while (!expected_.empty()) {
    for (const auto& message : expected_.front().messages) message->wait();
    take();
  }
  n_written_ = 0;
}

void SaveReports::drop() {
  for (; !expected_.empty(); expected_.pop_front()) {
    for (const auto& message : expected_.front().messages) message->wait();
  }
  n_written_ = 0;
}

}  // namespace longreach::dist
