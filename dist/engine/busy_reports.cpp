#include "dist/engine/busy_reports.hpp"

#include <algorithm>
#include <chrono>
#include <span>

namespace longreach::dist {
namespace {

/// What a rank sends last.
constexpr double kNoMore = -1;

}  // namespace

BusyReports::BusyReports(Communicator& ranks, const Recorder& recorder, Clock::duration interval)
    : ranks_(ranks.split(0)), recorder_(recorder), interval_(interval) {
  if (ranks_->rank() != 0) return;
  shares_.resize(ranks_->size());
  coming_.resize(ranks_->size());
  for (std::size_t rank = 1; rank < coming_.size(); ++rank) expect(rank);
}

double BusyReports::busy_seconds() const {
  const auto seconds = [this](Activity activity) {
    return recorder_.seconds()[static_cast<std::size_t>(activity)];
  };
  return seconds(Activity::kRead) - seconds(Activity::kExchange) + seconds(Activity::kLogits);
}

void BusyReports::begin() {
  start_ = Clock::now();
  busy_before_ = busy_seconds();
}

void BusyReports::after_step() {
  if (!recorder_.records()) return;
  const Clock::duration passed = Clock::now() - start_;
  if (passed < interval_) return;
  const double share =
      (busy_seconds() - busy_before_) / std::chrono::duration<double>(passed).count();
  begin();
  if (ranks_->rank() != 0) return send(std::clamp(share, 0.0, 1.0));
  shares_[0] = std::clamp(share, 0.0, 1.0);
  for (std::size_t rank = 1; rank < coming_.size(); ++rank) {
    while (coming_[rank].message && coming_[rank].message->done()) take(rank);
  }
}

void BusyReports::send(double share) {
  if (sent_ && !sent_->done()) return;  // the leader will learn of a later one
  leaving_ = share;
  sent_ = ranks_->send(std::as_bytes(std::span(&leaving_, 1)), 0);
}

void BusyReports::expect(std::size_t rank) {
  Coming& coming = coming_[rank];
  coming.message = ranks_->receive(std::as_writable_bytes(std::span(&coming.share, 1)), rank);
}

void BusyReports::take(std::size_t rank) {
  coming_[rank].message.reset();
  if (coming_[rank].share == kNoMore) return;
  shares_[rank] = coming_[rank].share;
  expect(rank);
}

void BusyReports::finish() {
  if (ranks_->rank() != 0) {
    if (sent_) sent_->wait();
    send(kNoMore);
    sent_->wait();
    return;
  }
  for (std::size_t rank = 1; rank < coming_.size(); ++rank) {
    while (coming_[rank].message) {
      coming_[rank].message->wait();
      take(rank);
    }
  }
}

}  // namespace longreach::dist
