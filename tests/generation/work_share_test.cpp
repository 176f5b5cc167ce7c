/// Pieces of work shared among the leaders of replicas, which are threads here.
#include "generation/work_share.hpp"

#include "kernels/base/error.hpp"
#include "tests/support/busy_replica.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>

namespace longreach::generation {
namespace {

using dist::Communicator;
using test::BusyReplica;

/// Lines of very different lengths.
std::string line_of(std::size_t piece) {
  return std::to_string(piece) + std::string(piece % 7 == 3 ? 200'000 : piece, '.');
}

/// Pieces in order, and what came of them.
class Pieces : public SharedWork {
 public:
  Pieces(std::size_t n_pieces, std::size_t n_replicas)
      : n_pieces_(n_pieces), n_got(n_replicas), progress(n_replicas), n_results(n_pieces) {}

  std::size_t n_left() const override { return n_pieces_ - n_out_; }
  std::optional<std::size_t> hand_out(std::size_t replica) override {
    if (n_left() == 0) return std::nullopt;
    ++n_got[replica];
    return n_out_++;
  }
  void add_result(std::size_t replica, std::size_t piece, const std::string& line) override {
    EXPECT_LT(replica, n_got.size());
    EXPECT_EQ(line, line_of(piece));
    ++n_results.at(piece);
  }
  void set_progress(std::size_t replica, const WorkProgress& now) override {
    EXPECT_GE(now.work_done, progress[replica].work_done);
    EXPECT_GE(now.n_tokens_read, progress[replica].n_tokens_read);
    progress[replica] = now;
  }
  bool carry_on() override { return true; }

  std::size_t n_done() const { return std::reduce(n_results.begin(), n_results.end()); }
  double work_done() const {
    double sum = 0;
    for (const WorkProgress& own : progress) sum += own.work_done;
    return sum;
  }

 private:
  std::size_t n_pieces_, n_out_ = 0;

 public:
  std::vector<std::size_t> n_got;      ///< By replica.
  std::vector<WorkProgress> progress;  ///< By replica.
  std::vector<std::size_t> n_results;  ///< By piece.
};

/// Runs `replica`, the same on all threads or one for each, on the work's source. Returns whether
/// all was done.
bool run(SharedWork& work, std::size_t n_replicas,
         const std::function<BusyReplica(std::size_t)>& replica_of) {
  bool finished = false;
  test::run_ranks(n_replicas, [&](Communicator& leaders) {
    const BusyReplica replica = replica_of(leaders.rank());
    if (leaders.rank() == 0) {
      finished = replica.work(*leading_source(work, "the same", leaders));
    } else {
      EXPECT_FALSE(replica.work(*remote_source("the same", leaders)));
    }
  });
  return finished;
}

TEST(WorkShareTest, EveryPieceIsDoneOnce) {
  for (const std::size_t n_replicas : {1, 2, 3, 6}) {
    for (const std::size_t n_room : {1, 2, 5, 100}) {
      for (const std::size_t n_pieces : {0, 1, 4, 45}) {
        Pieces pieces(n_pieces, n_replicas);
        // Every replica and every piece has a speed of its own.
        EXPECT_TRUE(run(pieces, n_replicas, [&](std::size_t rank) {
          const auto step = [rank](std::size_t piece, std::size_t, std::size_t n_steps) {
            if (rank % 3 == 1) std::this_thread::sleep_for(std::chrono::microseconds(20));
            return n_steps >= (piece + rank) % 5;
          };
          return BusyReplica{n_room + rank % 2, step, line_of};
        }));
        EXPECT_EQ(pieces.n_results, std::vector<std::size_t>(n_pieces, 1));
        EXPECT_EQ(pieces.work_done(), static_cast<double>(n_pieces));
      }
    }
  }
}

TEST(WorkShareTest, AReplicaGetsAsManyAsItHasRoomFor) {
  Pieces pieces(60, 3);
  std::atomic<std::size_t> n_begun = 0;
  // Nothing ends before all have as many as they have room for: 3, 4 and 5.
  EXPECT_TRUE(run(pieces, 3, [&](std::size_t rank) {
    const auto step = [&n_begun, rank](std::size_t, std::size_t n_under_way, std::size_t n_steps) {
      EXPECT_LE(n_under_way, 3 + rank);
      if (n_steps == 0) ++n_begun;
      return n_begun >= 3 + 4 + 5;
    };
    return BusyReplica{3 + rank, step, line_of};
  }));
  EXPECT_EQ(pieces.n_done(), 60);
}

TEST(WorkShareTest, WhereThereAreFewerPiecesThanRoomAllGetAsMany) {
  for (const auto& [n_replicas, n_pieces] :
       std::vector<std::pair<std::size_t, std::size_t>>{{2, 9}, {3, 12}, {5, 12}, {4, 3}}) {
    Pieces pieces(n_pieces, n_replicas);
    std::atomic<std::size_t> n_begun = 0;
    // Nothing ends before everything has begun.
    EXPECT_TRUE(run(pieces, n_replicas, [&, n = n_pieces](std::size_t) {
      const auto step = [&n_begun, n](std::size_t, std::size_t, std::size_t n_steps) {
        if (n_steps == 0) ++n_begun;
        return n_begun == n;
      };
      return BusyReplica{100, step, line_of};
    }));
    for (const std::size_t n_got : pieces.n_got) {
      EXPECT_GE(n_got, n_pieces / n_replicas);
      EXPECT_LE(n_got, (n_pieces + n_replicas - 1) / n_replicas);
    }
  }
}

/// Gives piece 2 only when piece 0 is done, and nothing to the leader of the job.
class PiecesInTurn final : public Pieces {
 public:
  PiecesInTurn() : Pieces(3, 2) {}
  std::optional<std::size_t> hand_out(std::size_t replica) override {
    const bool is_blocked = n_left() == 1 && n_results[0] == 0;
    return replica == 0 || is_blocked ? std::nullopt : Pieces::hand_out(replica);
  }
};

TEST(WorkShareTest, WhoHasPiecesUnderWayGetsMoreLater) {
  PiecesInTurn pieces;
  test::run_ranks(2, [&](Communicator& leaders) {
    if (leaders.rank() == 0) {
      const auto source = leading_source(pieces, "", leaders);
      EXPECT_EQ(source->wait_for_next(1), std::nullopt);
      EXPECT_TRUE(source->none_left());
      EXPECT_TRUE(source->finish());
      return;
    }
    const auto source = remote_source("", leaders);
    const auto come = [&](std::size_t n_room) {
      auto piece = source->next(n_room);
      while (!piece && !source->none_left() && source->carry_on({})) piece = source->next(n_room);
      return piece;
    };
    EXPECT_EQ(source->wait_for_next(3), 0);
    EXPECT_EQ(come(2), 1);
    EXPECT_EQ(source->next(1), std::nullopt);
    EXPECT_FALSE(source->none_left());
    source->add_result(0, line_of(0), {});
    EXPECT_EQ(come(2), 2);  // while piece 1 is under way
    EXPECT_EQ(come(1), std::nullopt);
    EXPECT_TRUE(source->none_left());
    source->add_result(2, line_of(2), {});
    source->add_result(1, line_of(1), {});
    EXPECT_FALSE(source->finish());
  });
  EXPECT_EQ(pieces.n_done(), 3);
}

/// Stops when a condition holds.
class StoppedPieces final : public Pieces {
 public:
  StoppedPieces(std::size_t n_pieces, std::size_t n_replicas,
                std::function<bool(const Pieces&)> is_enough)
      : Pieces(n_pieces, n_replicas), is_enough_(std::move(is_enough)) {}
  bool carry_on() override {
    EXPECT_FALSE(is_stopped_) << "nothing is asked after a stop";
    is_stopped_ = is_enough_(*this);
    return !is_stopped_;
  }

 private:
  std::function<bool(const Pieces&)> is_enough_;
  bool is_stopped_ = false;
};

TEST(WorkShareTest, AStopEndsAll) {
  for (const std::size_t n_replicas : {1, 3, 5}) {
    for (const std::size_t n_room : {1, 4}) {
      for (const std::size_t n_enough : {0, 1, 20}) {
        StoppedPieces pieces(1000, n_replicas, [n_enough](const Pieces& so_far) {
          return so_far.n_done() >= n_enough;
        });
        EXPECT_FALSE(run(pieces, n_replicas, [&](std::size_t) {
          const auto step = [](std::size_t, std::size_t, std::size_t n_steps) {
            std::this_thread::sleep_for(std::chrono::microseconds(20));
            return n_steps == 3;
          };
          return BusyReplica{n_room, step, line_of};
        }));
        EXPECT_GE(pieces.n_done(), n_enough);
        // What was under way may still come, but nothing new begins.
        EXPECT_LE(pieces.n_done(), n_enough + 2 * n_replicas * n_room);
        EXPECT_LE(*std::ranges::max_element(pieces.n_results), 1);
      }
    }
  }
}

TEST(WorkShareTest, AStopInterruptsWhatIsUnderWay) {
  // Nothing ends; the run is stopped when all others have something under way and said so.
  StoppedPieces pieces(20, 3, [](const Pieces& so_far) { return so_far.work_done() == 2; });
  test::run_ranks(3, [&](Communicator& leaders) {
    const auto source =
        leaders.rank() == 0 ? leading_source(pieces, "", leaders) : remote_source("", leaders);
    EXPECT_TRUE(source->wait_for_next(4));
    const double work_done = leaders.rank() == 0 ? 0 : 1;
    while (source->carry_on({work_done, 100})) {
      source->next(3);
      std::this_thread::yield();
    }
    EXPECT_TRUE(source->none_left());
    EXPECT_EQ(source->next(3), std::nullopt);
    EXPECT_FALSE(source->finish());
  });
  EXPECT_EQ(pieces.n_done(), 0);
}

TEST(WorkShareTest, ResultsAtTheTimeOfAStopStillArrive) {
  StoppedPieces pieces(20, 3, [](const Pieces& so_far) { return so_far.work_done() == 2; });
  test::run_ranks(3, [&](Communicator& leaders) {
    const auto source =
        leaders.rank() == 0 ? leading_source(pieces, "", leaders) : remote_source("", leaders);
    const auto piece = source->wait_for_next(2);
    const double work_done = leaders.rank() == 0 ? 0 : 1;
    while (source->carry_on({work_done, 100})) std::this_thread::yield();
    if (piece) source->add_result(*piece, line_of(*piece), {work_done, 100});
    source->finish();
  });
  EXPECT_EQ(pieces.n_done(), 3);
}

/// Cannot take the result of one piece.
class FullDisk final : public Pieces {
 public:
  FullDisk(std::size_t n_pieces, std::size_t n_replicas, std::size_t bad_replica)
      : Pieces(n_pieces, n_replicas), bad_replica_(bad_replica) {}
  void add_result(std::size_t replica, std::size_t piece, const std::string& line) override {
    Pieces::add_result(replica, piece, line);
    if (replica == bad_replica_ && ++n_taken_ == 3) base::input_error("the disk is full");
  }

 private:
  std::size_t bad_replica_, n_taken_ = 0;
};

TEST(WorkShareTest, AnErrorOfTheOwnerEndsAll) {
  for (const std::size_t bad_replica : {0, 2}) {
    FullDisk pieces(1000, 3, bad_replica);
    // The others end nothing.
    const auto replica = [bad_replica](std::size_t rank) {
      const auto step = [rank, bad_replica](std::size_t, std::size_t, std::size_t) {
        return rank == bad_replica;
      };
      return BusyReplica{4, step, line_of};
    };
    test::expect_refused([&] { run(pieces, 3, replica); }, "the disk is full");
  }
}

TEST(WorkShareTest, AFailureOfAReplicaEndsAll) {
  for (const std::size_t failing : {0, 2}) {
    Pieces pieces(1000, 3);
    const auto replica = [failing](std::size_t rank) {
      const auto step = [rank, failing](std::size_t, std::size_t, std::size_t n_steps) {
        if (rank == failing && n_steps == 1) throw std::runtime_error("out of luck");
        return false;
      };
      return BusyReplica{4, step, line_of};
    };
    EXPECT_THROW(run(pieces, 3, replica), std::runtime_error);
    EXPECT_EQ(pieces.n_done(), 0);
  }
}

TEST(WorkShareTest, ReplicasOfAnotherRunAreRefused) {
  Pieces pieces(10, 3);
  const auto start = [&](Communicator& leaders) {
    const std::string settings = leaders.rank() == 1 ? "bad" : "good";
    if (leaders.rank() == 0) {
      leading_source(pieces, settings, leaders);
    } else {
      EXPECT_EQ(remote_source(settings, leaders)->wait_for_next(1), std::nullopt);
    }
  };
  test::expect_refused([&] { test::run_ranks(3, start); },
                       "replica 1 would compute bad, replica 0 good: do all nodes have");
}

}  // namespace
}  // namespace longreach::generation
