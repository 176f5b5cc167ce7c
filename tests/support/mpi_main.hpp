/// The main function of test programs that run under a launcher is in mpi_main.cpp. Rank 0 reports
/// on tests as usual, every rank tells its own failures, and all end with the same verdict.
///
/// A rank that leaves a test early lets the others wait for it in their next collective call: no
/// ASSERT_* on what is not the same on all ranks.
#pragma once

#include "dist/comm/world.hpp"

namespace longreach::test {

/// The job this program is part of.
dist::World& world();

}  // namespace longreach::test
