/// What a rank did when: totals by activity, and every span of time for a trace.
#pragma once

#include "dist/comm/communicator.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace longreach::dist {

/// What a rank can be at. Reading contains blocks, and blocks contain exchanges.
enum class Activity : std::uint32_t {
  kRead,           ///< A step, or a call of mode reference, through the rank's blocks.
  kBlock,          ///< One of these.
  kExchange,       ///< Between shards: sending, receiving, and waiting for them.
  kWaitForStep,    ///< Nothing to do: the stage before is not yet done.
  kWaitToSend,     ///< The stage behind has not yet taken what was sent before.
  kLogits,         ///< The output head.
  kWaitForLogits,  ///< On the leader.
};

inline constexpr std::size_t kActivities = 7;

/// How much is kept.
enum class Recording { kNothing, kTotals, kSpans };

/// Seconds by activity.
using ActivitySeconds = std::array<double, kActivities>;

/// Keeps the spans of one rank. Costs nothing but a comparison when nothing is recorded.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Recorder(Recording recording) : recording_(recording) {}

  /// Ends when it goes out of scope.
  class [[nodiscard]] Span {
   public:
    Span(Recorder& recorder, Activity activity, std::uint32_t detail)
        : recorder_(recorder.recording_ == Recording::kNothing ? nullptr : &recorder),
          activity_(activity),
          detail_(detail) {
      if (recorder_ != nullptr) start_ = Clock::now();
    }
    ~Span() {
      if (recorder_ != nullptr) recorder_->add(activity_, detail_, start_, Clock::now());
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Recorder* recorder_;
    Activity activity_;
    std::uint32_t detail_;
    Clock::time_point start_ = {};
  };

  /// `detail` is a number of the activity's own: rows, a block, a kind of traffic.
  Span span(Activity activity, std::size_t detail = 0) {
    return {*this, activity, static_cast<std::uint32_t>(detail)};
  }

  /// Blocks follow one another: the next one begins where the last one ends.
  void begin_block(std::size_t block);
  void end_block();

  bool records() const { return recording_ != Recording::kNothing; }
  const ActivitySeconds& seconds() const { return seconds_; }

  /// Learns how this rank's clock differs from rank 0's, by messages back and forth. Collective.
  void compare_clocks(Communicator& world);

  /// Writes the spans of all ranks as a Chrome trace (a JSON object with traceEvents, which
  /// Perfetto reads too): a process for each rank, times by the leader's clock. Collective; rank 0
  /// writes. Errors, on rank 0: InputError naming the file.
  void write_trace(Communicator& world, const std::vector<std::string>& rank_names,
                   const std::filesystem::path& file) const;

 private:
  /// A span as it travels; times in nanoseconds of the leader's clock.
  struct Event {
    std::uint32_t activity, detail;
    std::int64_t start, length;
  };

  void add(Activity activity, std::uint32_t detail, Clock::time_point start, Clock::time_point end);

  Recording recording_;
  ActivitySeconds seconds_ = {};
  std::vector<Event> events_;
  std::int64_t clock_offset_ = 0;  ///< Nanoseconds that the leader's clock is ahead.
  std::uint32_t block_ = 0;
  Clock::time_point block_start_ = {};
};

}  // namespace longreach::dist
