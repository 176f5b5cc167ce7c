#include "partition/machine.hpp"

#include <gtest/gtest.h>

#include <map>

namespace longreach::partition {
namespace {

constexpr std::size_t kBillion = 1000000000;

/// Two unlike domains; the node grants less than both have.
Machine two_domains() {
  return {.n_nodes = 1,
          .domains = {{8, 64 * kBillion, 80e9}, {4, 32 * kBillion, 40e9}},
          .node_memory_bytes = 90 * kBillion};
}

TEST(Machine, ASingleRankHasTheWholeNode) {
  const Place place = place_of(two_domains(), 1, 0);
  EXPECT_EQ(place.domains, (Range{0, 2}));
  EXPECT_EQ(place.n_cores, 12U);
  EXPECT_EQ(place.memory_bytes, 90 * kBillion);
  EXPECT_EQ(place.read_bytes_per_second, 120e9);
  EXPECT_EQ(place.multiply_adds_per_second(), 12 * kCoreMultiplyAddsPerSecond);
}

TEST(Machine, RanksOfADomainShareIt) {
  const Place place = place_of(two_domains(), 3, 1);
  EXPECT_EQ(place.domains, (Range{0, 1}));
  EXPECT_EQ(place.n_cores, 4U);
  EXPECT_EQ(place.memory_bytes, 30 * kBillion)
      << "a third of the node is less than half the domain";
  EXPECT_EQ(place.read_bytes_per_second, 40e9);
  EXPECT_EQ(place_of(two_domains(), 3, 2).memory_bytes, 30 * kBillion);
}

TEST(Machine, RanksMultiplyAsFastAsTheirCores) {
  Machine machine = two_domains();
  machine.core_multiply_adds_per_second = 7e9;
  EXPECT_EQ(place_of(machine, 3, 1).multiply_adds_per_second(), 4 * 7e9);
  EXPECT_EQ(least_place(machine, 2).multiply_adds_per_second(), 4 * 7e9);
  std::vector<Place> places{place_of(machine, 1, 0), place_of(machine, 1, 0)};
  places[1].core_multiply_adds_per_second = 5e9;
  EXPECT_EQ(least_place(places).multiply_adds_per_second(), 12 * 5e9);
}

TEST(Machine, ByDefaultEveryRankHasADomain) {
  Machine machine = two_domains();
  machine.n_nodes.reset();
  EXPECT_EQ(machine.nodes_for(1), 1U);
  EXPECT_EQ(machine.nodes_for(5), 3U);
  EXPECT_EQ(machine.nodes_for(4096), 2048U);
}

TEST(Machine, NobodyGetsMoreThanThereIs) {
  for (std::size_t n_nodes = 1; n_nodes <= 5; ++n_nodes) {
    for (std::size_t n_ranks = 1; n_ranks <= 40; ++n_ranks) {
      Machine machine = two_domains();
      machine.n_nodes = n_nodes;
      const Place least = least_place(machine, n_ranks);
      std::map<std::size_t, std::size_t> memory;
      std::map<std::size_t, double> bandwidth;
      std::size_t last_node = 0;
      for (std::size_t rank = 0; rank < n_ranks; ++rank) {
        const Place place = place_of(machine, n_ranks, rank);
        ASSERT_TRUE(place.node == last_node || place.node == last_node + 1);
        last_node = place.node;
        memory[place.node] += place.memory_bytes;
        bandwidth[place.node] += place.read_bytes_per_second;
        ASSERT_LE(least.n_cores, place.n_cores);
        ASSERT_LE(least.memory_bytes, place.memory_bytes);
        ASSERT_LE(least.read_bytes_per_second, place.read_bytes_per_second);
      }
      ASSERT_EQ(memory.size(), std::min(n_nodes, n_ranks));
      for (const auto& [node, bytes] : memory) ASSERT_LE(bytes, 90 * kBillion) << node;
      for (const auto& [node, rate] : bandwidth) ASSERT_LE(rate, 120e9 * (1 + 1e-9)) << node;
    }
  }
}

}  // namespace
}  // namespace longreach::partition
