#include "generation/scheduler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace longreach::generation {
namespace {

constexpr std::size_t kForEver = 1'000'000'000;
constexpr std::size_t kMillion = 1'000'000;

/// Seconds of a step.
using Cost = std::function<double(StepRows)>;

/// Reading the weights once, and arithmetic for each row. The default budget (30 ms) has room for
/// about 190 rows of prompts beside 8 sequences.
double linear_cost(StepRows rows) {
  return 0.010 + 0.0001 * static_cast<double>(rows.n_decoding + rows.n_prompt);
}
/// The same, but the first row of a prompt costs as much as 60 more.
double concave_cost(StepRows rows) { return linear_cost(rows) + (rows.n_prompt > 0 ? 0.006 : 0); }

/// Steps in virtual time. Rows that were submitted come back when n_steps steps have been.
class Simulator {
 public:
  Simulator(const SchedulerOptions& options, Cost cost)
      : options_(options), cost_(std::move(cost)), scheduler_(options) {}

  RequestId add(std::size_t n_prompt, std::size_t n_new, std::size_t bytes = 1, int priority = 0) {
    const RequestId id = ++n_added_;
    Request request;
    request.n_left = n_prompt;
    request.n_new = n_new;
    request.bytes = bytes;
    request.added = seconds_;
    requests_[id] = request;
    scheduler_.add(id, {n_prompt, bytes, priority});
    return id;
  }
  void cancel(RequestId id) {
    scheduler_.remove(id);
    requests_.at(id).ended = seconds_;
  }

  void step() {
    begin();
    const std::vector<RequestRows> rows = scheduler_.next_step();
    last_ = {};
    ++n_steps_;
    for (const RequestRows& part : rows) submit(part);
    EXPECT_LE(last_.n_decoding + last_.n_prompt, std::max(options_.max_rows, n_per_step_));
    if (rows.empty()) {
      EXPECT_FALSE(under_way_.empty() && scheduler_.n_running() > 0) << "nothing runs";
    } else {
      last_seconds_ = cost_(last_);
      seconds_ += last_seconds_;
      scheduler_.observe(last_seconds_);
    }
    std::vector<RequestId> ids;
    for (const RequestRows& part : rows) {
      const Request& request = requests_.at(part.id);
      if (request.n_left == 0) ids.push_back(part.id);
    }
    under_way_.push_back(std::move(ids));
    if (under_way_.size() < options_.n_steps && !rows.empty()) return;
    const std::vector<RequestId> back = std::move(under_way_.front());
    under_way_.pop_front();
    for (const RequestId id : back) take(id);
  }
  void steps(std::size_t n) {
    for (std::size_t i = 0; i < n && !testing::Test::HasFailure(); ++i) step();
  }
  /// Steps until something is so; fails after so many.
  void steps_until(const std::function<bool()>& done, std::size_t most) {
    for (std::size_t i = 0; i < most && !testing::Test::HasFailure(); ++i) {
      if (done()) return;
      step();
    }
    ADD_FAILURE() << "not after " << most << " steps";
  }

  /// What prompts ask for from now on, once they were in a step.
  void set_per_step(std::size_t n_rows) { n_per_step_ = n_rows; }

  Scheduler& scheduler() { return scheduler_; }
  double seconds() const { return seconds_; }
  double last_seconds() const { return last_seconds_; }
  StepRows last() const { return last_; }
  bool has_begun(RequestId id) const { return requests_.at(id).has_begun; }
  bool has_ended(RequestId id) const { return requests_.at(id).ended.has_value(); }
  /// From its coming to its first token.
  std::optional<double> first_token_seconds(RequestId id) const {
    return requests_.at(id).first_token;
  }
  std::size_t prompt_rows_of(RequestId id) const { return requests_.at(id).n_prompt_rows; }
  std::size_t prompt_rows() const { return n_prompt_rows_; }
  /// The most steps between two that had rows of the prompt.
  std::size_t longest_pause(RequestId id) const { return requests_.at(id).longest_pause; }
  /// The longest that a decoding sequence waited from one of its rows to the next since this was
  /// asked last, as seconds and as steps.
  double take_longest_wait() { return std::exchange(longest_wait_, 0); }
  std::size_t take_longest_wait_steps() { return std::exchange(longest_wait_steps_, 0); }

 private:
  struct Request {
    std::size_t n_left = 0, n_new = 0, bytes = 0;
    double added = 0;
    bool has_begun = false;
    std::optional<double> first_token, ended, last_row;
    std::size_t last_row_step = 0;
    std::size_t n_prompt_rows = 0, last_prompt_step = 0, longest_pause = 0;
  };

  void begin() {
    while (const auto id = scheduler_.begin_next([](RequestId) { return true; })) {
      requests_.at(*id).has_begun = true;
      requests_.at(*id).last_prompt_step = n_steps_;
    }
    std::size_t bytes = 0;
    for (const auto& [id, request] : requests_) {
      if (request.has_begun && !request.ended) bytes += request.bytes;
    }
    EXPECT_LE(bytes, options_.memory_bytes);
  }

  void submit(const RequestRows& part) {
    Request& request = requests_.at(part.id);
    EXPECT_TRUE(request.has_begun && !request.ended);
    EXPECT_GE(part.n_rows, 1u);
    if (request.n_left == 0) {
      EXPECT_EQ(part.n_rows, 1u);
      ++last_.n_decoding;
      if (request.last_row) {
        longest_wait_ = std::max(longest_wait_, seconds_ - *request.last_row);
        longest_wait_steps_ = std::max(longest_wait_steps_, n_steps_ - request.last_row_step);
      }
      request.last_row = seconds_;
      request.last_row_step = n_steps_;
      scheduler_.set_under_way(part.id);
      return;
    }
    ASSERT_LE(part.n_rows, request.n_left);
    request.n_left -= part.n_rows;
    request.n_prompt_rows += part.n_rows;
    request.longest_pause = std::max(request.longest_pause, n_steps_ - request.last_prompt_step);
    request.last_prompt_step = n_steps_;
    last_.n_prompt += part.n_rows;
    n_prompt_rows_ += part.n_rows;
    if (request.n_left > 0) {
      scheduler_.set_prompt(part.id, request.n_left, request.n_left, n_per_step_);
    } else {
      scheduler_.set_under_way(part.id);
    }
  }

  void take(RequestId id) {
    Request& request = requests_.at(id);
    if (request.ended) return;
    if (!request.first_token) request.first_token = seconds_ - request.added;
    if (request.n_new-- > 1) return scheduler_.set_ready(id);
    scheduler_.remove(id);
    request.ended = seconds_;
  }

  SchedulerOptions options_;
  Cost cost_;
  Scheduler scheduler_;
  std::map<RequestId, Request> requests_;
  std::deque<std::vector<RequestId>> under_way_;
  RequestId n_added_ = 0;
  double seconds_ = 0, last_seconds_ = 0, longest_wait_ = 0;
  std::size_t n_steps_ = 0, n_prompt_rows_ = 0, longest_wait_steps_ = 0, n_per_step_ = 0;
  StepRows last_;
};

/// So many sequences that decode for ever.
void add_decoding(Simulator& simulator, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) simulator.add(1, kForEver);
  simulator.steps(30);
}

struct Load {
  std::size_t n_decoding, n_steps;
  bool is_concave;
};

class SchedulerLoadTest : public testing::TestWithParam<Load> {
 protected:
  SchedulerOptions options() const { return {.n_steps = GetParam().n_steps}; }
  Cost cost() const { return GetParam().is_concave ? concave_cost : linear_cost; }
  /// A plain step has this share of the decoding rows. Rounding to whole rows is below one row, and
  /// the time of a step of a few rows less may stand for it: 5 % for both.
  double budget() const {
    const std::size_t share = (GetParam().n_decoding + options().n_steps - 1) / options().n_steps;
    return 1.05 * Scheduler::kPlainSteps * linear_cost({share, 0});
  }
};

TEST_P(SchedulerLoadTest, DecodingWaitsNotMuchLongerWhileShortPromptsCome) {
  Simulator simulator(options(), cost());
  add_decoding(simulator, GetParam().n_decoding);
  simulator.add(kMillion, 1);
  simulator.steps(20);
  simulator.take_longest_wait();
  for (int i = 0; i < 1000; ++i) {
    simulator.step();
    if (i % 7 == 0) simulator.add(50, 1);
  }
  // The sequences are shared out again when others come and go: see below.
  EXPECT_LE(simulator.take_longest_wait(),
            budget() * static_cast<double>(2 * options().n_steps - 1));
}

TEST_P(SchedulerLoadTest, DecodingWaitsNoLongerThanTheBudget) {
  Simulator simulator(options(), cost());
  add_decoding(simulator, GetParam().n_decoding);
  simulator.take_longest_wait();
  simulator.add(kMillion, 1);
  simulator.steps(300);
  EXPECT_LE(simulator.take_longest_wait(), budget() * static_cast<double>(options().n_steps));
}

TEST_P(SchedulerLoadTest, APromptUsesTheBudget) {
  Simulator simulator(options(), cost());
  add_decoding(simulator, GetParam().n_decoding);
  simulator.add(kMillion, 1);
  simulator.steps(30);
  const std::size_t before = simulator.prompt_rows();
  simulator.steps(640);
  const std::size_t share = (GetParam().n_decoding + options().n_steps - 1) / options().n_steps;
  const double plain = linear_cost({share, 0});
  const double left = (Scheduler::kPlainSteps - 1) * plain - (GetParam().is_concave ? 0.006 : 0);
  EXPECT_GE(static_cast<double>(simulator.prompt_rows() - before), 0.9 * 640 * left / 0.0001);
}

INSTANTIATE_TEST_SUITE_P(Loads, SchedulerLoadTest,
                         testing::Values(Load{1, 1, false}, Load{8, 1, false}, Load{40, 1, false},
                                         Load{8, 1, true}, Load{8, 2, false}, Load{8, 4, false},
                                         Load{8, 4, true}, Load{13, 4, false}, Load{1, 4, false}));

TEST(SchedulerTest, DecodingIsNeverLeftOutOfAStep) {
  Simulator simulator({}, linear_cost);
  add_decoding(simulator, 8);
  simulator.add(kMillion, 1);
  simulator.take_longest_wait_steps();
  simulator.steps(200);
  EXPECT_EQ(simulator.take_longest_wait_steps(), 1u);
}

TEST(SchedulerTest, SequencesThatComeAndGoWaitForNoMoreThanTwoRoundsOfSteps) {
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const SchedulerOptions options{.n_steps = 1 + random() % 4, .max_running = 20};
    Simulator simulator(options, linear_cost);
    for (int i = 0; i < 1000; ++i) {
      if (random() % 5 == 0) simulator.add(1 + random() % 300, 1 + random() % 40);
      simulator.step();
    }
    EXPECT_LE(simulator.take_longest_wait_steps(), 2 * options.n_steps - 1);
  }
}

TEST(SchedulerTest, AGivenBudgetCounts) {
  Simulator simulator({.step_seconds = 0.020}, linear_cost);
  add_decoding(simulator, 8);
  simulator.add(kMillion, 1);
  simulator.steps(20);
  simulator.take_longest_wait();
  simulator.steps(500);
  const double wait = simulator.take_longest_wait();
  EXPECT_LE(wait, 0.0202);
  EXPECT_GE(wait, 0.019);
}

TEST(SchedulerTest, WithoutALimitPromptsFillEachStepFromTheFirstOn) {
  Simulator simulator({.step_seconds = kNoLimit}, linear_cost);
  add_decoding(simulator, 8);
  simulator.add(kMillion, 1);
  simulator.step();
  const std::size_t before = simulator.prompt_rows();
  simulator.steps(10);
  EXPECT_EQ(simulator.prompt_rows() - before, 10 * (512U - 8));
}

TEST(SchedulerTest, PromptsThatAskForLongerStepsHaveThemWhereNobodyWaits) {
  struct Trial {
    std::optional<double> step_seconds;
    double row_seconds;
    std::size_t n_asked, n_rows;
  };
  for (const Trial& trial :
       {Trial{kNoLimit, 0.0001, 2048, 2048}, Trial{kNoLimit, 0.0001, 1536, 1536},
        Trial{kNoLimit, 0.0001, 100, 512},    // no fewer than others have
        Trial{kNoLimit, 0.0012, 2048, 1536},  // 2 seconds
        Trial{kNoLimit, 0.1, 2048, 512}, Trial{{}, 0.0001, 2048, 512},
        Trial{0.02, 0.0001, 2048, 512}}) {
    Simulator simulator({.step_seconds = trial.step_seconds}, [&](StepRows rows) {
      return trial.row_seconds * static_cast<double>(rows.n_decoding + rows.n_prompt);
    });
    simulator.set_per_step(trial.n_asked);
    simulator.add(kMillion, 1);
    simulator.step();
    EXPECT_EQ(simulator.last().n_prompt, 512U) << "nothing is known of its time";
    for (int i = 0; i < 3; ++i) {
      simulator.step();
      EXPECT_EQ(simulator.last().n_prompt, trial.n_rows) << trial.row_seconds << " " << i;
    }
  }
}

TEST(SchedulerTest, LongerStepsHaveRowsOfAllPromptsAndOfDecodingSequences) {
  Simulator simulator({.step_seconds = kNoLimit}, linear_cost);
  simulator.set_per_step(2048);
  const RequestId one = simulator.add(kMillion, 1), other = simulator.add(kMillion, 1);
  simulator.steps(10);
  EXPECT_EQ(simulator.last().n_prompt, 2048U);
  EXPECT_GE(simulator.prompt_rows_of(one), 5 * 512U);
  EXPECT_GE(simulator.prompt_rows_of(other), 5 * 512U);
  add_decoding(simulator, 8);
  EXPECT_EQ(simulator.last().n_decoding, 8U);
  EXPECT_EQ(simulator.last().n_prompt, 2040U);
}

TEST(SchedulerTest, ABudgetBelowAPlainStepStopsNoPrompt) {
  Simulator simulator({.step_seconds = 0.001}, linear_cost);
  add_decoding(simulator, 8);
  const RequestId prompt = simulator.add(1000, 1);
  simulator.steps_until([&] { return simulator.has_ended(prompt); }, 300);
}

TEST(SchedulerTest, NoisyTimesHardlyMatter) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> noise(0.9, 1.1);
  Simulator simulator({}, [&](StepRows rows) { return linear_cost(rows) * noise(random); });
  add_decoding(simulator, 8);
  simulator.add(kMillion, 1);
  simulator.steps(30);
  simulator.take_longest_wait();
  const std::size_t before = simulator.prompt_rows();
  simulator.steps(1000);
  // A plain step and one of both kinds may each be off by a tenth.
  EXPECT_LE(simulator.take_longest_wait(), 1.1 * 1.25 * 3 * linear_cost({8, 0}));
  EXPECT_GE(simulator.prompt_rows() - before, 1000u * 216 * 8 / 10);
}

/// One slow step, whichever of the first ones it is, or a later one of decoding alone.
TEST(SchedulerTest, ASingleSlowStepIsForgottenAtOnce) {
  for (int slow = 0; slow < 200; ++slow) {
    SCOPED_TRACE(testing::Message() << "slow step " << slow);
    int n = 0;
    Simulator simulator({},
                        [&](StepRows rows) { return linear_cost(rows) * (n++ == slow ? 10 : 1); });
    for (int i = 0; i < 8; ++i) simulator.add(1, kForEver);
    simulator.steps(3);
    simulator.add(kMillion, 1);
    for (int i = 3; i < 300; ++i) {
      simulator.step();
      if (i == slow || i < 10) continue;
      EXPECT_LE(simulator.last_seconds(), 1.05 * 3 * linear_cost({8, 0})) << "step " << i;
      if (i > slow + 8 && i > 20 && simulator.last().n_prompt > 0) {
        EXPECT_GE(simulator.last().n_prompt, 190u) << "step " << i;
      }
    }
  }
}

TEST(SchedulerTest, StepsOfFewRowsDoNotKeepLaterOnesSmall) {
  Simulator simulator({}, concave_cost);
  add_decoding(simulator, 8);
  for (int i = 0; i < 20; ++i) {
    simulator.add(1, 1);
    simulator.steps(2);
  }
  simulator.add(kMillion, 1);
  simulator.steps(30);
  EXPECT_GE(simulator.last().n_prompt, 130u);
  simulator.add(1, 1);
  simulator.steps(3);
  EXPECT_GE(simulator.last().n_prompt, 130u);
}

TEST(SchedulerTest, CostsThatGrowAreMeasuredAgain) {
  double factor = 1;
  Simulator simulator({}, [&](StepRows rows) { return factor * linear_cost(rows); });
  add_decoding(simulator, 8);
  simulator.add(kForEver, 1);
  simulator.steps(100);
  factor = 4;
  simulator.steps(200);
  EXPECT_NEAR(simulator.last_seconds(), factor * 3 * linear_cost({8, 0}), 0.01);
  factor = 1;
  simulator.steps(200);
  EXPECT_NEAR(simulator.last_seconds(), 3 * linear_cost({8, 0}), 0.003);
}

TEST(SchedulerTest, ShortPromptsOvertakeLongOnes) {
  for (const std::size_t n_decoding : {0u, 8u}) {
    const auto first_token = [&](bool has_long) {
      Simulator simulator({}, linear_cost);
      add_decoding(simulator, n_decoding);
      for (int i = 0; has_long && i < 4; ++i) simulator.add(kMillion, 1);
      simulator.steps(20);
      const RequestId id = simulator.add(3000, 1);
      simulator.steps_until([&] { return simulator.has_ended(id); }, 100);
      return simulator.first_token_seconds(id).value_or(0);
    };
    // Half of the rows, and a part of the last step.
    EXPECT_LE(first_token(true), 2.1 * first_token(false) + 0.06) << n_decoding << " decoding";
  }
}

TEST(SchedulerTest, AMillionTokensGoOnBesideShortPromptsForEver) {
  for (const std::size_t n_decoding : {0u, 8u}) {
    Simulator simulator({}, linear_cost);
    add_decoding(simulator, n_decoding);
    const RequestId large = simulator.add(kMillion, 1);
    RequestId small = simulator.add(900, 1);
    const std::size_t before = simulator.prompt_rows();
    for (int i = 0; i < 1000; ++i) {
      if (simulator.has_ended(small)) small = simulator.add(900, 1);
      simulator.step();
    }
    EXPECT_GE(static_cast<double>(simulator.prompt_rows_of(large)),
              0.24 * static_cast<double>(simulator.prompt_rows() - before));
    EXPECT_LE(simulator.longest_pause(large), 3u);
  }
}

TEST(SchedulerTest, AMillionTokensGoOnBesideManyPromptsThatKeepComing) {
  Simulator simulator({.step_seconds = 0.001, .max_running = 32}, linear_cost);  // 4 rows a step
  add_decoding(simulator, 1);
  const RequestId large = simulator.add(kMillion, 1);
  for (int i = 0; i < 2000; ++i) {
    while (simulator.scheduler().n_waiting() < 10) simulator.add(5, 1);
    simulator.step();
  }
  // Two rows of each step are dealt in turn to 31 prompts at most.
  EXPECT_LE(simulator.longest_pause(large), 20u);
}

TEST(SchedulerTest, PromptsOfOneLengthThatComeAtOnceEndInTheirOrder) {
  Simulator simulator({.max_running = 10}, linear_cost);
  std::vector<RequestId> ids;
  for (int i = 0; i < 300; ++i) ids.push_back(simulator.add(1000, 1));
  for (const RequestId id : ids) {
    simulator.steps_until([&] { return simulator.has_ended(id); }, 30);
  }
  // Whole steps, but for the last ones.
  EXPECT_LE(simulator.seconds(), 1.05 * 300'000 / 512 * linear_cost({0, 512}));
}

TEST(SchedulerTest, ARequestAloneHasWholeSteps) {
  Simulator simulator({.max_rows = std::numeric_limits<std::size_t>::max()}, linear_cost);
  const RequestId id = simulator.add(kMillion, 1);
  simulator.step();
  EXPECT_TRUE(simulator.has_ended(id));
}

TEST(SchedulerTest, RowsEndAtBorders) {
  Scheduler scheduler({.max_rows = 100});
  scheduler.add(1, {.n_prompt = 1000});
  scheduler.add(2, {.n_prompt = 2000});
  const auto any = [](RequestId) { return true; };
  scheduler.begin_next(any);
  scheduler.begin_next(any);
  scheduler.set_prompt(1, 1000, 3);
  for (const RequestRows& part : scheduler.next_step()) {
    EXPECT_EQ(part.n_rows, part.id == 1 ? 3u : 97u);
  }
}

TEST(SchedulerTest, ALargeRequestIsNotOvertakenAndBegins) {
  Simulator simulator({.memory_bytes = 100}, linear_cost);
  for (int i = 0; i < 10; ++i) simulator.add(10, 20 + static_cast<std::size_t>(i), 10);
  simulator.step();
  const RequestId large = simulator.add(10, 5, 100);
  std::vector<RequestId> later;
  for (int i = 0; i < 50; ++i) later.push_back(simulator.add(10, 5, 1));
  simulator.steps_until(
      [&] {
        for (const RequestId id : later) {
          EXPECT_TRUE(!simulator.has_begun(id) || simulator.has_begun(large));
        }
        return simulator.has_ended(large);
      },
      100);
  simulator.steps_until([&] { return simulator.has_ended(later.back()); }, 50);
}

TEST(SchedulerTest, HigherPrioritiesBeginFirst) {
  Simulator simulator({.max_running = 1}, linear_cost);
  const RequestId low = simulator.add(10, 1, 1, -1), first = simulator.add(10, 1, 1, 0),
                  second = simulator.add(10, 1, 1, 0), high = simulator.add(10, 1, 1, 5);
  for (const RequestId id : {high, first, second, low}) {
    EXPECT_FALSE(simulator.has_begun(id));
    simulator.step();
    EXPECT_TRUE(simulator.has_ended(id));
  }
}

TEST(SchedulerTest, WhatMayNotBeginIsPassedOver) {
  Scheduler scheduler({});
  scheduler.add(1, {.n_prompt = 1});
  scheduler.add(2, {.n_prompt = 1});
  EXPECT_EQ(scheduler.begin_next([](RequestId id) { return id != 1; }), 2u);
  EXPECT_EQ(scheduler.begin_next([](RequestId id) { return id != 1; }), std::nullopt);
  EXPECT_EQ(scheduler.begin_next([](RequestId) { return true; }), 1u);
}

TEST(SchedulerTest, WhatIsReservedIsNotGivenOut) {
  Scheduler scheduler({.memory_bytes = 100});
  for (const RequestId id : {1, 2}) scheduler.add(id, {.n_prompt = 1, .bytes = 50});
  const auto any = [](RequestId) { return true; };
  EXPECT_EQ(scheduler.begin_next(any), 1u);
  scheduler.set_bytes(1, 10);
  scheduler.set_reserved(41);
  EXPECT_EQ(scheduler.begin_next(any), std::nullopt);
  scheduler.set_reserved(40);
  EXPECT_EQ(scheduler.begin_next(any), 2u);
  EXPECT_EQ(scheduler.running_bytes(), 60);
}

TEST(SchedulerTest, TheQueueIsBounded) {
  Scheduler scheduler({.memory_bytes = 10, .max_waiting = 2});
  EXPECT_TRUE(scheduler.fits(10));
  EXPECT_FALSE(scheduler.fits(11));
  scheduler.add(1, {.n_prompt = 1, .bytes = 10});
  EXPECT_FALSE(scheduler.queue_is_full());
  scheduler.add(2, {.n_prompt = 1, .bytes = 10});
  EXPECT_TRUE(scheduler.queue_is_full());
  scheduler.remove(2);
  EXPECT_FALSE(scheduler.queue_is_full());
}

TEST(SchedulerTest, RandomRequestsThatEndAnywhereAllEnd) {
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const SchedulerOptions options{.max_rows = 16 + random() % 100,
                                   .n_steps = 1 + random() % 4,
                                   .memory_bytes = 50 + random() % 100,
                                   .max_running = 1 + random() % 16};
    Simulator simulator(options, concave_cost);
    std::vector<RequestId> ids;
    for (int i = 0; i < 500; ++i) {
      if (random() % 50 == 0) {  // a burst
        for (int k = 0; k < 20; ++k) {
          ids.push_back(simulator.add(1 + random() % 200, 1 + random() % 20, 1 + random() % 50,
                                      static_cast<int>(random() % 3)));
        }
      }
      if (!ids.empty() && random() % 10 == 0) {
        const RequestId id = ids[random() % ids.size()];
        if (!simulator.has_ended(id)) simulator.cancel(id);
      }
      simulator.step();
    }
    simulator.steps_until(
        [&] {
          return std::ranges::all_of(ids, [&](RequestId id) { return simulator.has_ended(id); });
        },
        20'000);
  }
}

}  // namespace
}  // namespace longreach::generation
