/// The machine as plain data, and where its ranks are put. Nothing here looks at a real machine.
#pragma once

#include "partition/ownership.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace longreach::partition {

// Cautious figures of current servers, where nobody has measured.

/// What a core reads from memory, and what a domain's cores read together at the most.
inline constexpr double kCoreReadBytesPerSecond = 10e9;
inline constexpr double kDomainReadBytesPerSecond = 150e9;
/// What a core does in products of many rows: 16 multiply-adds of f32 in a cycle at 3 GHz.
inline constexpr double kCoreMultiplyAddsPerSecond = 50e9;

/// What two threads take to begin and to end a job together.
inline constexpr double kJobSeconds = 0.5e-6;

/// The default read bandwidth of a domain, bytes/s.
constexpr double default_bandwidth(std::size_t n_cores) {
  return std::min(static_cast<double>(n_cores) * kCoreReadBytesPerSecond,
                  kDomainReadBytesPerSecond);
}

/// A NUMA domain: cores and the memory next to them.
struct Domain {
  std::size_t n_cores = 1;
  std::size_t memory_bytes = 0;
  double read_bytes_per_second = default_bandwidth(1);
};

/// What a message between two ranks costs.
struct Link {
  double latency_seconds = 0;
  double bytes_per_second = 1;
};

/// A cluster of identical nodes.
struct Machine {
  /// Absent: as many nodes as give every rank a domain of its own.
  std::optional<std::size_t> n_nodes = 1;
  std::vector<Domain> domains;        ///< Of each node; at least one.
  std::size_t node_memory_bytes = 0;  ///< What the ranks of a node may take together.
  double core_multiply_adds_per_second = kCoreMultiplyAddsPerSecond;
  Link inside_node = {1e-6, 10e9};  ///< Through shared memory.
  Link network = {5e-6, 10e9};      ///< 100 Gbit/s with remote memory access.

  std::size_t nodes_for(std::size_t n_ranks) const;
};

/// What one rank has of the machine.
struct Place {
  std::size_t node = 0;
  Range domains;  ///< Of the node; several, or one that other ranks may share.
  std::size_t n_cores = 0;
  std::size_t memory_bytes = 0;
  double read_bytes_per_second = 0;
  double core_multiply_adds_per_second = kCoreMultiplyAddsPerSecond;  ///< Of each core.

  double multiply_adds_per_second() const {
    return static_cast<double>(n_cores) * core_multiply_adds_per_second;
  }
};

/// Ranks fill nodes in order, as evenly as possible; the ranks of a node are dealt to its domains
/// likewise, and share equally what they have to share.
Place place_of(const Machine& machine, std::size_t n_ranks, std::size_t rank);

/// The least of everything that any of the ranks has; node and domains mean nothing.
Place least_place(const Machine& machine, std::size_t n_ranks);
/// The same of places that are given; at least one.
Place least_place(std::span<const Place> places);

/// Ranks that there are, wherever somebody has put them.
struct Site {
  std::vector<Place> places;  ///< Of each rank; nodes are numbered by their first rank.
  Link inside_node = Machine().inside_node;
  Link network = Machine().network;
};

/// The site of n_ranks on a described machine.
Site site_of(const Machine& machine, std::size_t n_ranks);

/// The site of a replica: of some consecutive ranks, which have what they have beside the others.
Site site_of(const Site& all, Range ranks);

}  // namespace longreach::partition
