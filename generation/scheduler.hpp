/// Which requests begin, and which rows share a step: a pure policy. It knows numbers of tokens,
/// bytes and measured seconds; whoever runs the steps reports what came of them.
///
/// The policy, in the order of its decisions:
///  1. Requests wait in one queue, higher priorities first, then in the order they came. The first
///     one begins when its bytes fit beside those of the running ones; it is not overtaken (but by
///     others while it waits for a prefix), or a large one would never begin. The queue is bounded.
///  2. A step has a row of every decoding sequence that is ready. Where several steps are under way
///     at once (stages), each has its share of the decoding sequences.
///  3. While sequences decode, a step has as many rows of prompts as keep it within the time
///     budget, by the measured cost of rows; else as many as a step may have. Where nobody waits
///     for single tokens, it has more if a prompt asks for more, as far as they are read in time.
///  4. Half of these rows go to the prompt with the fewest rows left: short prompts overtake long
///     ones. The rest is dealt to all in turn (deficit round robin), so that none starves.
#pragma once

#include "generation/step_cost.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <vector>

namespace longreach::generation {

using RequestId = std::uint64_t;

struct SchedulerOptions {
  std::size_t max_rows = 512;  ///< Of a step, unless a prompt asks for more.
  std::size_t n_steps = 1;     ///< Under way at once.
  /// How long a step may last while sequences decode. Default: kPlainSteps steps of them alone.
  std::optional<double> step_seconds = {};
  std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();  ///< Of all that run.
  std::size_t max_running = 64;                                        ///< Requests.
  std::size_t max_waiting = 1024;                                      ///< Requests.
};

/// For SchedulerOptions::step_seconds where nobody waits for single tokens.
inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// What a request takes.
struct RequestSize {
  std::size_t n_prompt = 0;  ///< Rows to read.
  std::size_t bytes = 0;     ///< When it is done.
  int priority = 0;
};

/// Rows of a running request in a step.
struct RequestRows {
  RequestId id;
  std::size_t n_rows;
};

class Scheduler {
 public:
  /// The default budget in plain decoding steps.
  static constexpr double kPlainSteps = 3;
  /// Seconds that a step of more than max_rows may take: a signal may have to wait for its end.
  static constexpr double kLongestStep = 2;

  explicit Scheduler(const SchedulerOptions& options) : options_(options) {}

  /// Whether a request of so many bytes could ever run.
  bool fits(std::size_t bytes) const { return bytes <= options_.memory_bytes; }
  bool queue_is_full() const { return waiting_.size() >= options_.max_waiting; }
  std::size_t n_waiting() const { return waiting_.size(); }
  std::size_t n_running() const { return running_.size(); }

  /// Puts a request into the queue. Requires: it fits, and the queue is not full.
  void add(RequestId id, const RequestSize& size);
  /// The next request to begin: the first of the queue if there is room for it. Those that
  /// `may_begin` refuses are passed over, as what they wait for comes from running ones. It runs
  /// from then on.
  std::optional<RequestId> begin_next(const std::function<bool(RequestId)>& may_begin);
  /// A request ends, wherever it is.
  void remove(RequestId id);
  /// Of all that run.
  std::size_t running_bytes() const { return running_bytes_; }
  /// Memory that something else holds and cannot give back, from now on.
  void set_reserved(std::size_t bytes) { reserved_bytes_ = bytes; }

  // Of running requests.
  /// It takes other memory than was expected, as a part is shared.
  void set_bytes(RequestId id, std::size_t bytes);
  std::size_t bytes_of(RequestId id) const { return running_.at(id).bytes; }
  /// The prompt has so many rows left, of which a step may have n_until_border at most. Steps of up
  /// to n_per_step rows take less time a row. Requires: 1 <= n_until_border <= n_left.
  void set_prompt(RequestId id, std::size_t n_left, std::size_t n_until_border,
                  std::size_t n_per_step = 0);
  /// Its last rows are under way; a row to decode comes of them, or the end.
  void set_under_way(RequestId id);
  /// It has a row to decode.
  void set_ready(RequestId id);

  /// The rows of the next step; none when there is nothing to do before rows under way have come.
  std::vector<RequestRows> next_step();

  /// How long the last step took.
  void observe(double seconds);

 private:
  enum class Phase { kPrompt, kUnderWay, kReady };

  struct Waiting {
    RequestId id;
    RequestSize size;
  };
  struct Running {
    std::size_t bytes = 0;
    Phase phase = Phase::kUnderWay;
    std::size_t n_left = 0, n_until_border = 0;  ///< Of the prompt.
    std::size_t n_per_step = 0;                  ///< As asked for.
    std::uint64_t since = 0;                     ///< When it became ready, as a number of changes.
    double credit = 0;                           ///< Rows it was not dealt yet.
  };

  /// Sequences whose prompts are read.
  std::size_t n_decoding() const;
  /// How many of them a step has at most.
  std::size_t decoding_share() const;
  std::vector<RequestId> in_phase(Phase phase) const;
  /// Of a step.
  std::size_t most_rows() const;
  std::size_t prompt_rows(std::size_t n_decoding_rows);
  void deal(std::size_t n_rows, std::vector<RequestRows>& step);

  SchedulerOptions options_;
  std::vector<Waiting> waiting_;  ///< In the order of beginning.
  std::map<RequestId, Running> running_;
  std::size_t running_bytes_ = 0, reserved_bytes_ = 0;
  std::uint64_t n_changes_ = 0;
  StepCost cost_;
  StepRows last_step_;
  std::optional<double> row_seconds_;  ///< Of the last step that had rows of prompts alone.
  std::size_t n_mixed_ = 0;            ///< Steps of both kinds since decoding alone was measured.
};

}  // namespace longreach::generation
