#include "dist/trace/recorder.hpp"

#include "dist/comm/gather_values.hpp"
#include "kernels/base/output_file.hpp"
#include "model/exchange.hpp"

#include <fmt/format.h>

#include <iterator>
#include <limits>

namespace longreach::dist {
namespace {

/// Messages back and forth with each rank; the quickest one counts.
constexpr int kClockRounds = 16;

std::int64_t nanoseconds(Recorder::Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

std::int64_t now() { return nanoseconds(Recorder::Clock::now()); }

std::string text(Activity activity, std::uint32_t detail) {
  switch (activity) {
    case Activity::kRead:
      return fmt::format("read {} tokens", detail);
    case Activity::kBlock:
      return fmt::format("block {}", detail);
    case Activity::kExchange:
      return fmt::format("exchange {}", name_of(static_cast<model::Traffic>(detail)));
    case Activity::kWaitForStep:
      return "wait for a step";
    case Activity::kWaitToSend:
      return "wait to send";
    case Activity::kLogits:
      return fmt::format("logits of {} tokens", detail);
    case Activity::kWaitForLogits:
      return "wait for logits";
  }
  return "?";
}

}  // namespace

void Recorder::add(Activity activity, std::uint32_t detail, Clock::time_point start,
                   Clock::time_point end) {
  seconds_[static_cast<std::size_t>(activity)] +=
      std::chrono::duration<double>(end - start).count();
  if (recording_ != Recording::kSpans) return;
  events_.push_back({static_cast<std::uint32_t>(activity), detail, nanoseconds(start),
                     nanoseconds(end) - nanoseconds(start)});
}

void Recorder::begin_block(std::size_t block) {
  if (recording_ == Recording::kNothing) return;
  end_block();
  block_ = static_cast<std::uint32_t>(block);
  block_start_ = Clock::now();
}

void Recorder::end_block() {
  if (recording_ == Recording::kNothing || block_start_ == Clock::time_point{}) return;
  add(Activity::kBlock, block_, block_start_, Clock::now());
  block_start_ = {};
}

void Recorder::compare_clocks(Communicator& world) {
  for (std::size_t rank = 1; rank < world.size(); ++rank) {
    std::int64_t quickest = std::numeric_limits<std::int64_t>::max();
    for (int round = 0; round < kClockRounds; ++round) {
      std::int64_t leaders = 0;
      const auto bytes = std::as_writable_bytes(std::span(&leaders, 1));
      if (world.rank() == 0) {
        world.receive(bytes, rank)->wait();
        leaders = now();
        world.send(bytes, rank)->wait();
      } else if (world.rank() == rank) {
        const std::int64_t asked = now();
        world.send(bytes, 0)->wait();
        world.receive(bytes, 0)->wait();
        const std::int64_t answered = now();
        if (answered - asked < quickest) {
          quickest = answered - asked;
          clock_offset_ = leaders - (asked + answered) / 2;
        }
      }
    }
  }
}

void Recorder::write_trace(Communicator& world, const std::vector<std::string>& rank_names,
                           const std::filesystem::path& file) const {
  std::vector<Event> own = events_;
  for (Event& event : own) event.start += clock_offset_;
  const std::vector<std::vector<Event>> lists = gather_lists(world, std::span<const Event>(own));
  if (world.rank() != 0) return;

  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  for (const auto& events : lists) {
    for (const Event& event : events) first = std::min(first, event.start);
  }
  base::OutputFile out(file);
  out.write("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
  for (std::size_t r = 0; r < lists.size(); ++r) {
    std::string events;
    const auto end = std::back_inserter(events);
    fmt::format_to(
        end,
        "{}\n{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{},\"args\":{{\"name\":\"{}\"}}}}",
        r == 0 ? "" : ",", r, rank_names[r]);
    fmt::format_to(end,
                   ",\n{{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":{},\"args\":{{\"sort_"
                   "index\":{}}}}}",
                   r, r);
    for (const Event& event : lists[r]) {
      // Microseconds, as the format has it.
      fmt::format_to(
          end,
          ",\n{{\"ph\":\"X\",\"name\":\"{}\",\"pid\":{},\"tid\":0,\"ts\":{:.3f},\"dur\":{:.3f}}}",
          text(static_cast<Activity>(event.activity), event.detail), r,
          static_cast<double>(event.start - first) / 1e3, static_cast<double>(event.length) / 1e3);
    }
    out.write(events);
  }
  out.write("\n]}\n");
  out.finish();
}

}  // namespace longreach::dist
