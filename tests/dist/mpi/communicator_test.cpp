#include "dist/comm/mpi_communicator.hpp"
#include "tests/support/communicator_cases.hpp"
#include "tests/support/mpi_main.hpp"

#include <gtest/gtest.h>

namespace longreach::test {
namespace {

class AnyCommunicator : public testing::TestWithParam<CommunicatorCase> {};

TEST_P(AnyCommunicator, OverMpi) { GetParam().run(world().communicator()); }

/// As if an int held no more than these bytes.
TEST_P(AnyCommunicator, OverMpiWithLargeParts) {
  for (const std::size_t largest_count : {1000, 3}) {
    SCOPED_TRACE(largest_count);
    const auto ranks = dist::mpi_communicator(largest_count);
    GetParam().run(*ranks);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AnyCommunicator, testing::ValuesIn(kCommunicatorCases),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace longreach::test
