/// How the leader learns how busy the ranks are: each says so about once a second, beside its work,
/// and nobody waits.
#pragma once

#include "dist/comm/communicator.hpp"
#include "dist/trace/recorder.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace longreach::dist {

/// Neither copied nor moved.
class BusyReports {
 public:
  using Clock = Recorder::Clock;

  /// `recorder` is this rank's, and must outlive it; where nothing is recorded, nothing is
  /// reported. On all ranks of `ranks`, of which 0 leads; collective.
  BusyReports(Communicator& ranks, const Recorder& recorder, Clock::duration interval);
  BusyReports(const BusyReports&) = delete;
  BusyReports& operator=(const BusyReports&) = delete;

  /// After each step. Reports once an interval is over.
  void after_step();
  /// An interval begins: the pause before it counts for nothing.
  void begin();
  /// Nothing is reported any more. Collective.
  void finish();

  /// On the leader: of each rank the share of its last interval in which it computed; neither
  /// exchanges with other shards nor waiting are computing. 0 before the first report.
  const std::vector<double>& shares() const { return shares_; }

 private:
  /// A report that is to come.
  struct Coming {
    double share = 0;
    std::unique_ptr<Message> message;  ///< Null if none is.
  };

  double busy_seconds() const;
  void send(double share);
  void expect(std::size_t rank);
  /// Takes what has come from a rank, and expects the next, unless it was the last.
  void take(std::size_t rank);

  std::unique_ptr<Communicator> ranks_;  ///< Of its own: other messages have another order.
  const Recorder& recorder_;
  Clock::duration interval_;
  Clock::time_point start_ = Clock::now();
  double busy_before_ = 0;  ///< Seconds, at the start of the interval.
  std::vector<double> shares_;
  std::vector<Coming> coming_;  ///< On the leader, by rank; its own is never used.
  double leaving_ = 0;
  std::unique_ptr<Message> sent_;
};

}  // namespace longreach::dist
