#include "dist/comm/world.hpp"

#include "tests/support/agreement_cases.hpp"
#include "tests/support/mpi_main.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

namespace longreach::test {
namespace {

TEST(World, IsAsLargeAsTheLauncherSays) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(std::to_string(world().size()), size == nullptr ? "1" : size);
  EXPECT_EQ(world().leads_job(), world().rank() == 0);
  EXPECT_FALSE(world().host().empty());
}

TEST(World, GivesWhatAPhaseReturns) {
  const auto own = world().agree([] { return std::make_unique<std::size_t>(world().rank()); });
  EXPECT_EQ(*own, world().rank());
  int n_calls = 0;
  world().agree([&] { ++n_calls; });
  EXPECT_EQ(n_calls, 1);
}

TEST(World, AgreesOnFailures) {
  if (world().size() > 1) ranks_agree(world().communicator());
}

/// Run by a test of its own, which knows what is to be seen: one rank fails while the others wait.
TEST(World, DISABLED_EndsWhenARankFailsAlone) {
  if (world().rank() == 1) throw std::runtime_error("out of luck");
  world().communicator().barrier();
}

}  // namespace
}  // namespace longreach::test
