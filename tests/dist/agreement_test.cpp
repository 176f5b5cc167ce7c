#include "dist/comm/agreement.hpp"

#include "dist/comm/lone_communicator.hpp"
#include "kernels/base/error.hpp"
#include "tests/support/agreement_cases.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

namespace longreach::test {
namespace {

TEST(Agreement, OfThreads) {
  for (const std::size_t n_ranks : {2, 3, 4, 8}) {
    SCOPED_TRACE(n_ranks);
    run_ranks(n_ranks, ranks_agree);
  }
}

TEST(Agreement, OneAloneGetsItsOwnError) {
  dist::LoneCommunicator alone;
  dist::agree(alone, "node", [] {});
  EXPECT_THROW(dist::agree(alone, "node", [] { base::input_error("no"); }), base::InputError);
  EXPECT_THROW(dist::agree(alone, "node", [] { throw std::bad_alloc(); }), std::bad_alloc);
}

}  // namespace
}  // namespace longreach::test
