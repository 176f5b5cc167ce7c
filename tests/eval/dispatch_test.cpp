/// Questions shared among the leaders of replicas, which are threads here.
#include "eval/dispatch.hpp"

#include "kernels/base/read_file.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace longreach::eval {
namespace {

using dist::Communicator;
using std::chrono::milliseconds;

/// Questions whose answers are their numbers; two of three begin like the one before.
class Numbers final : public Task {
 public:
  explicit Numbers(std::size_t n_questions) : Task("numbers", specs_of(n_questions)) {}
  Question question(std::size_t index) const override {
    return {{1, 2, 3}, 0, {}, ToAnswer{5, {}, {std::to_string(index)}, Match::kExact}};
  }

 private:
  static std::vector<QuestionSpec> specs_of(std::size_t n) {
    std::vector<QuestionSpec> specs(n, QuestionSpec{100, {}, 0});
    for (std::size_t i = 0; i < n; ++i) specs[i].n_shared = i % 3 == 0 ? 0 : 80;
    return specs;
  }
};

class DispatchTest : public ::testing::Test {
 protected:
  using Watches = std::function<bool(const RunProgress&)>;
  /// Called in the middle of a question; nothing more is asked if it throws.
  using Asking = std::function<void(std::size_t replica, std::size_t question)>;

  /// Asks all that has no result, on n_replicas threads, one of which leads. Returns whether all
  /// was asked.
  bool run(std::size_t n_replicas, const Asking& asking, const Watches& watch) {
    bool finished = false;
    test::run_ranks(n_replicas, [&](Communicator& leaders) {
      const std::size_t replica = leaders.rank();
      const auto work_through = [&](QuestionSource& source) {
        std::size_t n_read = 0;
        while (const auto index = source.next()) {
          asking(replica, *index);
          n_read += 100;
          if (!source.carry_on(0.5, n_read)) break;
          const Question question = task_.question(*index);
          const Outcome outcome{std::to_string(*index), {}, "abc"};
          source.add_result(result_line(task_, *index, question, outcome, {}, 0.25, settings_),
                            n_read);
        }
        return source.finish();
      };
      if (replica != 0) {
        EXPECT_FALSE(work_through(*remote_source(settings_, leaders)));
        return;
      }
      ResultFile file(path_, task_, settings_);
      finished = work_through(*scheduling_source(task_, settings_, file, leaders, watch));
      if (finished) file.sort();
    });
    return finished;
  }

  std::size_t n_lines() const {
    const std::string text = std::filesystem::exists(path_) ? base::read_file(path_) : "";
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
  }

  static bool carry_on(const RunProgress&) { return true; }
  /// Long enough for everybody to get a question.
  static void take_time(std::size_t, std::size_t) { std::this_thread::sleep_for(milliseconds(2)); }

  Settings settings_{{"seed", std::uint64_t{7}}};
  test::TempFolder folder_;
  std::filesystem::path path_ = folder_.path() / "r.jsonl";
  Numbers task_{40};
};

TEST_F(DispatchTest, AnyNumberOfReplicasWritesTheSameFile) {
  std::string expected;
  for (const std::size_t n_replicas : {1, 2, 3, 7}) {
    std::vector<std::size_t> replica_of(40, 99);  // each is written by one thread
    EXPECT_TRUE(run(
        n_replicas,
        [&](std::size_t replica, std::size_t question) {
          EXPECT_EQ(replica_of[question], 99);
          replica_of[question] = replica;
          take_time(replica, question);
        },
        carry_on));
    EXPECT_EQ(std::set(replica_of.begin(), replica_of.end()).size(), n_replicas);
    const std::string text = base::read_file(path_);
    if (n_replicas == 1) expected = text;
    EXPECT_EQ(text, expected);
    std::filesystem::remove(path_);
  }
  EXPECT_NE(expected.find("\"question\":39"), std::string::npos);
}

TEST_F(DispatchTest, MoreReplicasThanQuestions) {
  EXPECT_TRUE(run(4, take_time, carry_on));
  std::atomic<int> n_asked = 0;
  EXPECT_TRUE(run(
      4, [&](std::size_t, std::size_t) { ++n_asked; }, carry_on));
  EXPECT_EQ(n_asked, 0);
}

TEST_F(DispatchTest, AStoppedRunKeepsWhatIsThereAndGoesOnWithOtherReplicas) {
  std::atomic<std::size_t> n_asked = 0;
  const Asking asking = [&](std::size_t replica, std::size_t question) {
    ++n_asked;
    take_time(replica, question);
  };
  std::size_t n_before = 0;
  for (const std::size_t n_replicas : {3, 1, 4}) {
    EXPECT_FALSE(run(n_replicas, asking, [&](const RunProgress& progress) {
      EXPECT_EQ(progress.n_questions, 40);
      EXPECT_TRUE(progress.share_done >= 0 && progress.share_done <= 1);
      return progress.n_done < n_before + 5;
    }));
    EXPECT_GE(n_lines(), n_before + 5);
    // Nobody goes on for long: a replica ends with the question it is at.
    EXPECT_LE(n_lines(), n_before + 5 + 2 * n_replicas);
    n_before = n_lines();
  }
  EXPECT_TRUE(run(2, asking, carry_on));
  EXPECT_LE(n_asked, 40 + 3 + 1 + 4);  // a question that was interrupted is asked again
  const std::string text = base::read_file(path_);
  std::filesystem::remove(path_);
  EXPECT_TRUE(run(1, asking, carry_on));
  EXPECT_EQ(text, base::read_file(path_));
}

TEST_F(DispatchTest, AStopInterruptsTheQuestionsOfAll) {
  test::run_ranks(3, [&](Communicator& leaders) {
    if (leaders.rank() == 0) {
      ResultFile file(path_, task_, settings_);
      // Stops when both others are in the middle of a question.
      const auto source = scheduling_source(
          task_, settings_, file, leaders,
          [](const RunProgress& progress) { return progress.n_tokens_read < 200; });
      EXPECT_TRUE(source->next());
      while (source->carry_on(0, 0)) std::this_thread::yield();
      EXPECT_FALSE(source->finish());
      return;
    }
    const auto source = remote_source(settings_, leaders);
    EXPECT_TRUE(source->next());
    const auto latest = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (source->carry_on(0.5, 100)) ASSERT_LT(std::chrono::steady_clock::now(), latest);
    source->finish();
  });
  EXPECT_EQ(n_lines(), 0);
}

TEST_F(DispatchTest, ProgressIsThatOfAllTogether) {
  RunProgress last;
  EXPECT_TRUE(run(3, take_time, [&](const RunProgress& progress) {
    EXPECT_GE(progress.n_tokens_read, last.n_tokens_read);
    EXPECT_GE(progress.n_done, last.n_done);
    last = progress;
    return true;
  }));
  EXPECT_EQ(last.mean_score, 1);
  EXPECT_GE(last.n_done, 37);  // those that came last are not reported any more
  EXPECT_GE(last.n_tokens_read, 3700);
  EXPECT_LE(last.n_tokens_read, 4000);
}

TEST_F(DispatchTest, AFailureOfOneEndsAll) {
  for (const std::size_t failing : {0, 2}) {
    EXPECT_THROW(run(
                     3,
                     [&](std::size_t replica, std::size_t question) {
                       take_time(replica, question);
                       if (replica == failing) throw std::runtime_error("out of luck");
                     },
                     carry_on),
                 std::runtime_error);
  }
}

TEST_F(DispatchTest, ReplicasOfAnotherRunAreRefused) {
  const auto start = [this](Communicator& leaders) {
    Settings own = settings_;
    own.emplace_back("model_fingerprint", std::string(leaders.rank() == 1 ? "bad" : "good"));
    if (leaders.rank() != 0) {
      const auto source = remote_source(own, leaders);
      EXPECT_EQ(source->next(), std::nullopt);
      return;
    }
    ResultFile file(path_, task_, own);
    scheduling_source(task_, own, file, leaders, carry_on);
  };
  test::expect_refused([&] { test::run_ranks(3, start); }, "replica 1 would compute");
}

}  // namespace
}  // namespace longreach::eval
