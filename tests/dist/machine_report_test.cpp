#include "dist/comm/machine_report.hpp"

#include "dist/comm/gather_texts.hpp"
#include "dist/comm/lone_communicator.hpp"
#include "tests/support/thread_ranks.hpp"

#include <gtest/gtest.h>

namespace longreach::dist {
namespace {

/// A report that tells its rank in every field.
MachineReport report_of(std::uint32_t rank) {
  return {.host = "node" + std::to_string(rank),
          .isas = std::vector<std::string>(rank, "isa"),
          .isa = std::string(rank, '\0'),
          .cores = {{rank, 0}, {rank + 1, rank}},
          .bound = std::vector<Core>(rank, {rank, 7}),
          .granted_cores = rank,
          .memory_bytes = (std::uint64_t{1} << 40) + rank,
          .yields = rank % 2 == 0,
          .run = "run " + std::to_string(rank)};
}

TEST(MachineReport, AllRanksHaveAllReports) {
  for (const std::size_t n_ranks : {2, 3, 8}) {
    SCOPED_TRACE(n_ranks);
    test::run_ranks(n_ranks, [](Communicator& world) {
      const auto own = static_cast<std::uint32_t>(world.rank());
      const std::vector<MachineReport> reports = gather(world, report_of(own));
      ASSERT_EQ(reports.size(), world.size());
      for (std::uint32_t rank = 0; rank < reports.size(); ++rank) {
        EXPECT_EQ(reports[rank], report_of(rank)) << rank;
      }
    });
  }
}

TEST(MachineReport, OneAloneHasItsOwn) {
  LoneCommunicator alone;
  EXPECT_EQ(gather(alone, report_of(5)), std::vector{report_of(5)});
}

TEST(GatherTexts, AreOfAnyLengthAndBytes) {
  test::run_ranks(4, [](Communicator& world) {
    const auto text_of = [](std::size_t rank) {
      return std::string(rank * 1000 % 3001, static_cast<char>(rank));
    };
    const auto texts = gather_texts(world, text_of(world.rank()));
    for (std::size_t rank = 0; rank < 4; ++rank) EXPECT_EQ(texts.at(rank), text_of(rank));
    EXPECT_EQ(gather_texts(world, ""), std::vector<std::string>(4)) << "nobody has anything to say";
  });
}

}  // namespace
}  // namespace longreach::dist
