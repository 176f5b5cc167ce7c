#include "tests/support/mpi_main.hpp"

#include "kernels/base/error.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace longreach::test {
namespace {

dist::World* the_world = nullptr;

/// Tells the failures of a rank that does not report otherwise.
class FailureTeller : public testing::EmptyTestEventListener {
  // GoogleTest cannot be asked for it when a part fails: it holds its lock then.
  void OnTestStart(const testing::TestInfo& test) override { test_ = test.name(); }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    fmt::print(stderr, "rank {}: {}:{}: {} failed\n{}\n", world().rank(),
               result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(),
               test_, result.message());
  }

  std::string test_ = "what is outside tests";
};

/// Runs the tests. Returns the exit code, the same on all ranks, of which one may have failed
/// alone.
int run_tests() {
  dist::Communicator& ranks = world().communicator();
  if (!world().leads_job()) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailureTeller);
  }
  std::vector<std::byte> codes(ranks.size());
  codes[ranks.rank()] = std::byte(RUN_ALL_TESTS());
  std::vector<partition::Range> parts;
  for (std::size_t r = 0; r < ranks.size(); ++r) parts.push_back({r, r + 1});
  ranks.all_gather(codes, parts);
  for (std::size_t r = 0; world().leads_job() && r < ranks.size(); ++r) {
    if (codes[r] != std::byte{}) fmt::print("FAILED on rank {}\n", r);
  }
  return std::to_integer<int>(std::ranges::max(codes));
}

}  // namespace

dist::World& world() {
  LR_CHECK(the_world != nullptr);
  return *the_world;
}

}  // namespace longreach::test

int main(int argc, char** argv) {
  using namespace longreach;
  testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(catch_exceptions, false);  // a rank that leaves a test by one is waited for
  dist::World world;
  test::the_world = &world;
  try {
    return test::run_tests();
  } catch (const std::exception& error) {
    world.abort_all(error.what());
  }
}
