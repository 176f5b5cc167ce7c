#include "eval/selection_mass.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace longreach::eval {
namespace {

using dist::MassSample;
using dist::QueryUse;

TEST(SelectionMass, CellsOfBlockUseContextAndHead) {
  std::vector<MassSample> samples;
  // Shares of 1/32 to 20/32 in any order, so that the second smallest ends the lowest tenth.
  for (std::size_t i = 0; i < 20; ++i) {
    const float share = static_cast<float>((i * 7) % 20 + 1) / 32;
    samples.push_back({2048, 5, 1, QueryUse::kReading, {share, 0.75F}});
  }
  samples.push_back({3, 5, 0, QueryUse::kReading, {1, 1}});
  samples.push_back({1024, 5, 1, QueryUse::kReading, {0.5F, 1}});
  samples.push_back({1025, 5, 0, QueryUse::kReading, {0.875F, 0.875F}});
  samples.push_back({1500, 2, 0, QueryUse::kAnswering, {0.5F, 0.5F}});
  const std::vector<MassCell> cells = mass_cells(samples);
  EXPECT_EQ(mass_csv(cells),
            "block,queries_of,context,head,queries,mean,lowest_decile,mean_best\n"
            "2,answer,2048,0,1,0.5,0.5,0.5\n"
            "5,prompt,1024,0,1,1,1,1\n"
            "5,prompt,1024,1,1,0.5,0.5,1\n"
            "5,prompt,2048,0,1,0.875,0.875,0.875\n"
            "5,prompt,2048,1,20,0.328125,0.0625,0.75\n");
  EXPECT_EQ(
      mass_table(cells),
      "selection mass: percent of full attention in what queries see, by tokens up to theirs\n"
      "block  queries        share     1K    2K\n"
      "    2   answer         mean      -  50.0\n"
      "    2   answer   worst head      -  50.0\n"
      "    2   answer  best choice      -  50.0\n"
      "    5   prompt         mean   75.0  60.2\n"
      "    5   prompt   worst head   50.0  32.8\n"
      "    5   prompt  best choice  100.0  81.2\n");
}

TEST(SelectionMass, WhatIsNoNumberIsRefused) {
  const std::vector<MassSample> samples{{9, 2, 0, QueryUse::kReading, {std::nanf(""), 1}}};
  test::expect_refused([&] { mass_cells(samples); }, "block 2", "no number");
}

}  // namespace
}  // namespace longreach::eval
