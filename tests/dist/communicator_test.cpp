#include "dist/comm/communicator.hpp"

#include "dist/comm/lone_communicator.hpp"
#include "tests/support/communicator_cases.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <tuple>

namespace longreach::test {
namespace {

class AnyCommunicator : public testing::TestWithParam<CommunicatorCase> {};

TEST_P(AnyCommunicator, Lone) {
  dist::LoneCommunicator alone;
  GetParam().run(alone);
}

TEST_P(AnyCommunicator, OfThreads) {
  for (const std::size_t n_ranks : {1, 2, 3, 4, 8}) {
    SCOPED_TRACE(n_ranks);
    run_ranks(n_ranks, GetParam().run);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AnyCommunicator, testing::ValuesIn(kCommunicatorCases),
                         [](const auto& one) { return one.param.name; });

/// What run_ranks throws for a body.
std::string error_of(std::size_t n_ranks, const std::function<void(Communicator&)>& body,
                     std::chrono::milliseconds limit = std::chrono::seconds(60)) {
  try {
    run_ranks(n_ranks, body, limit);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(ThreadRanks, OneThatThrowsEndsTheWaitsOfAll) {
  const std::vector<std::function<void(Communicator&)>> waits = {
      [](Communicator& ranks) { ranks.barrier(); }, [](Communicator& ranks) { ranks.split(0); },
      [](Communicator& ranks) {
        Bytes bytes(1);
        ranks.receive(bytes, 1)->wait();
      },
      [](Communicator& ranks) {
        const Bytes bytes(1);
        const auto message = ranks.send(bytes, 1);
        while (!message->done()) std::this_thread::yield();
      }};
  for (std::size_t i = 0; i < waits.size(); ++i) {
    EXPECT_EQ(error_of(4,
                       [&](Communicator& ranks) {
                         ranks.barrier();
                         if (ranks.rank() == 1) throw std::runtime_error("rank 1 is out");
                         waits[i](ranks);
                       }),
              "rank 1 is out")
        << i;
  }
}

TEST(ThreadRanks, NoneWaitsForEver) {
  const auto limit = std::chrono::milliseconds(50);
  const auto first_waits_for = [](auto wait) {
    return [wait](Communicator& ranks) {
      if (ranks.rank() == 0) wait(ranks);
    };
  };
  EXPECT_EQ(error_of(2, first_waits_for([](Communicator& ranks) { ranks.barrier(); }), limit),
            "barrier: the others did not come within 50 ms");
  Bytes bytes(1);
  EXPECT_EQ(
      error_of(2, first_waits_for([&](Communicator& ranks) { ranks.receive(bytes, 1)->wait(); }),
               limit),
      "receive: the others did not come within 50 ms");
  EXPECT_EQ(error_of(2, first_waits_for([&](Communicator& ranks) {
                       const auto message = ranks.send(bytes, 1);
                       while (!message->done()) std::this_thread::yield();
                     }),
                     limit),
            "send: the others did not come within 50 ms");
}

TEST(ThreadRanks, CallsThatDoNotFitTogetherAreErrors) {
  const auto bytes_of_rank = [](Communicator& ranks) { return Bytes(10 + ranks.rank()); };
  const auto ranges = [](Communicator& ranks, std::size_t n_bytes) {
    return std::vector<Range>(ranks.size(), Range{0, n_bytes});
  };
  EXPECT_NE(error_of(3,
                     [](Communicator& ranks) {
                       Bytes bytes(1);
                       if (ranks.rank() == 1) return ranks.barrier();
                       ranks.broadcast(bytes, 0);
                     })
                .find("calls this, rank"),
            std::string::npos);
  EXPECT_NE(error_of(3,
                     [&](Communicator& ranks) {
                       Bytes bytes = bytes_of_rank(ranks);
                       ranks.broadcast(bytes, 0);
                     })
                .find("10 bytes are sent where 1"),
            std::string::npos);
  EXPECT_EQ(error_of(3,
                     [](Communicator& ranks) {
                       Bytes bytes(1);
                       ranks.broadcast(bytes, ranks.rank());
                     }),
            "broadcast: the ranks name different roots");
  EXPECT_EQ(error_of(3,
                     [&](Communicator& ranks) {
                       Bytes bytes(20);
                       ranks.all_gather(bytes, ranges(ranks, 1 + ranks.rank()));
                     }),
            "all_gather: the parts are not the same on all ranks");
  EXPECT_EQ(error_of(3,
                     [&](Communicator& ranks) {
                       Bytes bytes(20);
                       ranks.all_gather(bytes, ranges(ranks, 21));
                     }),
            "all_gather: a part lies outside its buffer");
  EXPECT_NE(error_of(2,
                     [&](Communicator& ranks) {
                       const Bytes sent(20);
                       Bytes received(20);
                       ranks.all_to_all(sent, ranges(ranks, 3), received,
                                        ranges(ranks, 3 + ranks.rank()));
                     })
                .find("3 bytes are sent where 4 are expected"),
            std::string::npos);
}

}  // namespace
}  // namespace longreach::test
