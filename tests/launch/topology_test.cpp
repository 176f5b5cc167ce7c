#include "launch/machine/topology.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

namespace longreach::launch {
namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;

TEST(Topology, CoresAndMemoryOfEachDomain) {
  const partition::Machine machine = described_node("numa:2(memory=64GiB) core:8 pu:2");
  ASSERT_EQ(machine.domains.size(), 2U);
  for (const partition::Domain& domain : machine.domains) {
    EXPECT_EQ(domain.n_cores, 8U) << "hardware threads are no cores";
    EXPECT_EQ(domain.memory_bytes, 64 * kGiB);
    EXPECT_EQ(domain.read_bytes_per_second, partition::default_bandwidth(8));
  }
  EXPECT_EQ(machine.node_memory_bytes, 128 * kGiB);
  EXPECT_EQ(machine.n_nodes, 1U);
}

TEST(Topology, DomainsInsidePackages) {
  const partition::Machine machine =
      described_node("package:2 numa:4(memory=32GiB) l3:2 core:4 pu:1");
  ASSERT_EQ(machine.domains.size(), 8U);
  EXPECT_EQ(machine.domains[7].n_cores, 8U);
  EXPECT_EQ(machine.node_memory_bytes, 8 * 32 * kGiB);
}

TEST(Topology, HardwareThreadsCountWhereThereAreNoCores) {
  EXPECT_EQ(described_node("numa:1(memory=1GiB) pu:6").domains.at(0).n_cores, 6U);
}

TEST(Topology, OfMemoriesNextToTheSameCoresTheLargestCounts) {
  const partition::Machine machine =
      described_node("package:2 [numa(memory=64GiB)] [numa(memory=16GiB)] core:4 pu:1");
  ASSERT_EQ(machine.domains.size(), 2U);
  EXPECT_EQ(machine.domains[0].memory_bytes, 64 * kGiB);
  EXPECT_EQ(machine.domains[0].n_cores, 4U);
  EXPECT_EQ(machine.node_memory_bytes, 128 * kGiB);
}

TEST(Topology, ReadsAFile) {
  const test::TempFolder folder;
  folder.write("node.xml", R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
  <object type="Machine" os_index="0" cpuset="0x3" complete_cpuset="0x3" allowed_cpuset="0x3"
          nodeset="0x1" complete_nodeset="0x1" allowed_nodeset="0x1" gp_index="1">
    <object type="NUMANode" os_index="0" cpuset="0x3" complete_cpuset="0x3" nodeset="0x1"
            complete_nodeset="0x1" gp_index="2" local_memory="1073741824"/>
    <object type="Core" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1"
            complete_nodeset="0x1" gp_index="3">
      <object type="PU" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1"
              complete_nodeset="0x1" gp_index="4"/>
    </object>
    <object type="Core" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x1"
            complete_nodeset="0x1" gp_index="5">
      <object type="PU" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x1"
              complete_nodeset="0x1" gp_index="6"/>
    </object>
  </object>
</topology>
)");
  const partition::Machine machine = described_node((folder.path() / "node.xml").string());
  ASSERT_EQ(machine.domains.size(), 1U);
  EXPECT_EQ(machine.domains[0].n_cores, 2U);
  EXPECT_EQ(machine.domains[0].memory_bytes, kGiB);
}

TEST(Topology, RefusesWhatIsNone) {
  for (const char* description : {"", "sofa:2", "numa:2(memory=64GiB) core:", "absent.xml"}) {
    test::expect_refused([&] { described_node(description); }, "--topology", description);
  }
}

TEST(Topology, ThisNodeHasSomething) {
  const partition::Machine machine = this_node();
  ASSERT_FALSE(machine.domains.empty());
  EXPECT_GE(machine.domains[0].n_cores, 1U);
  EXPECT_GT(machine.node_memory_bytes, 0U);
}

}  // namespace
}  // namespace longreach::launch
