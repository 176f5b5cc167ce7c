/// Questions shared among the leaders of replicas, which are threads here.
#include "eval/shared_questions.hpp"

#include "kernels/base/read_file.hpp"
#include "tests/support/busy_replica.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace longreach::eval {
namespace {

using dist::Communicator;
using std::chrono::milliseconds;

/// Questions whose answers are their numbers; two of three begin like the one before.
class NumberedQuestions final : public Task {
 public:
  explicit NumberedQuestions(std::size_t n_questions) : Task("numbers", specs_of(n_questions)) {}
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

class SharedQuestionsTest : public ::testing::Test {
 protected:
  /// Called in the middle of a question, again until it returns true.
  using Asking = std::function<bool(std::size_t replica, std::size_t question)>;

  /// Asks all that has no result, n_room at once on each of n_replicas threads, one of which leads.
  /// Returns whether all was asked.
  bool run(std::size_t n_replicas, std::size_t n_room, const Asking& asking, const Watch& watch) {
    bool finished = false;
    test::run_ranks(n_replicas, [&](Communicator& leaders) {
      const std::size_t rank = leaders.rank();
      const auto step = [&](std::size_t question, std::size_t, std::size_t n_steps) {
        return n_steps >= question % 3 && asking(rank, question);
      };
      const auto result = [this](std::size_t index) {
        const Question question = task_.question(index);
        const Outcome outcome{std::to_string(index), {}, "abc"};
        return result_line(task_, index, question, outcome, {}, 0.25, settings_);
      };
      const test::BusyReplica replica{n_room, step, result};
      const std::string settings = settings_text(settings_);
      if (rank != 0) {
        EXPECT_FALSE(replica.work(*generation::remote_source(settings, leaders)));
        return;
      }
      ResultFile file(path_, task_, settings_);
      SharedQuestions questions(task_, file, n_replicas, watch);
      finished = replica.work(*generation::leading_source(questions, settings, leaders));
      if (finished) file.sort();
    });
    return finished;
  }

  std::size_t n_lines() const {
    const std::string text = std::filesystem::exists(path_) ? base::read_file(path_) : "";
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
  }

  static bool carry_on(const RunProgress&) { return true; }
  static bool take_time(std::size_t, std::size_t) {
    std::this_thread::sleep_for(milliseconds(1));
    return true;
  }

  Settings settings_{{"seed", std::uint64_t{7}}};
  test::TempFolder folder_;
  std::filesystem::path path_ = folder_.path() / "r.jsonl";
  NumberedQuestions task_{40};
};

TEST_F(SharedQuestionsTest, AnyNumberOfReplicasWritesTheSameFile) {
  std::string expected;
  for (const std::size_t n_replicas : {1, 2, 3, 7}) {
    for (const std::size_t n_room : {1, 4}) {
      std::vector<std::atomic<bool>> has_begun(n_replicas);
      // No question ends before everybody has one.
      const Asking asking = [&](std::size_t replica, std::size_t) {
        has_begun[replica] = true;
        return std::ranges::all_of(has_begun, [](const auto& one) { return one.load(); });
      };
      EXPECT_TRUE(run(n_replicas, n_room, asking, carry_on));
      const std::string text = base::read_file(path_);
      if (expected.empty()) expected = text;
      EXPECT_EQ(text, expected);
      std::filesystem::remove(path_);
    }
  }
  EXPECT_NE(expected.find("\"question\":39"), std::string::npos);
}

TEST_F(SharedQuestionsTest, MoreReplicasThanQuestions) {
  EXPECT_TRUE(run(4, 20, take_time, carry_on));
  std::atomic<int> n_asked = 0;
  EXPECT_TRUE(run(
      4, 20, [&](std::size_t, std::size_t) { return ++n_asked > 0; }, carry_on));
  EXPECT_EQ(n_asked, 0);
}

TEST_F(SharedQuestionsTest, AStoppedRunKeepsWhatIsThereAndGoesOnWithOtherReplicas) {
  std::atomic<std::size_t> n_asked = 0;
  const Asking asking = [&](std::size_t replica, std::size_t question) {
    ++n_asked;
    return take_time(replica, question);
  };
  std::size_t n_before = 0;
  for (const auto& [n_replicas, n_room] :
       std::vector<std::pair<std::size_t, std::size_t>>{{3, 2}, {1, 3}, {4, 1}}) {
    EXPECT_FALSE(run(n_replicas, n_room, asking, [&](const RunProgress& progress) {
      EXPECT_EQ(progress.n_questions, 40);
      EXPECT_TRUE(progress.share_done >= 0 && progress.share_done <= 1);
      return progress.n_done < n_before + 3;
    }));
    EXPECT_GE(n_lines(), n_before + 3);
    EXPECT_LT(n_lines(), 40);
    n_before = n_lines();
  }
  EXPECT_TRUE(run(2, 3, asking, carry_on));
  EXPECT_EQ(n_asked, 40);  // no result was lost
  const std::string text = base::read_file(path_);
  std::filesystem::remove(path_);
  EXPECT_TRUE(run(1, 1, asking, carry_on));
  EXPECT_EQ(text, base::read_file(path_));
}

TEST_F(SharedQuestionsTest, ProgressIsThatOfAllTogether) {
  RunProgress last;
  EXPECT_TRUE(run(3, 2, take_time, [&](const RunProgress& progress) {
    EXPECT_GE(progress.n_tokens_read, last.n_tokens_read);
    EXPECT_GE(progress.n_done, last.n_done);
    EXPECT_GE(progress.share_done, last.share_done);
    last = progress;
    return true;
  }));
  EXPECT_EQ(last.mean_score, 1);
  EXPECT_GE(last.n_done, 34);  // those that came last are not reported any more
  EXPECT_EQ(last.n_tokens_read, 100 * last.n_done);
}

}  // namespace
}  // namespace longreach::eval
