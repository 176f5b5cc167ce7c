/// From hwloc's picture of a node to the machine that plans are made for.
#pragma once

#include "partition/machine.hpp"

#include <string>

namespace longreach::launch {

/// This node, with what this process can still take of its memory. A domain is a NUMA node that has
/// cores; of several next to the same cores (fast and large memory) the largest counts.
/// hwloc's variables HWLOC_XMLFILE and HWLOC_SYNTHETIC put another node in its place.
/// Errors: InputError when hwloc cannot read the node.
partition::Machine this_node();

/// A node that hwloc describes: a file whose name ends in .xml (`lstopo out.xml`), or else a
/// synthetic description such as "numa:2(memory=64GB) core:8 pu:2".
/// Errors: InputError naming --topology.
partition::Machine described_node(const std::string& description);

}  // namespace longreach::launch
