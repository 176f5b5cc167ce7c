#include "partition/machine.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <map>

namespace longreach::partition {
namespace {

/// The domains of a node's rank, and how many ranks share them.
struct GridPosition {
  Range domains;
  std::size_t n_sharing = 1;
};

GridPosition seat_of(std::size_t n_domains, std::size_t n_ranks, std::size_t rank) {
  if (n_ranks <= n_domains) return {part_of(n_domains, rank, n_ranks), 1};
  const std::size_t domain = part_holding(rank, n_ranks, n_domains);
  return {{domain, domain + 1}, part_of(n_ranks, domain, n_domains).size()};
}

}  // namespace

std::size_t Machine::nodes_for(std::size_t n_ranks) const {
  return n_nodes.value_or((n_ranks + domains.size() - 1) / domains.size());
}

Place place_of(const Machine& machine, std::size_t n_ranks, std::size_t rank) {
  LR_CHECK(rank < n_ranks && !machine.domains.empty());
  const std::size_t n_nodes = machine.nodes_for(n_ranks);
  Place place;
  place.core_multiply_adds_per_second = machine.core_multiply_adds_per_second;
  place.node = part_holding(rank, n_ranks, n_nodes);
  const Range in_node = part_of(n_ranks, place.node, n_nodes);
  const GridPosition grid_position =
      seat_of(machine.domains.size(), in_node.size(), rank - in_node.begin);
  place.domains = grid_position.domains;
  for (std::size_t i = grid_position.domains.begin; i < grid_position.domains.end; ++i) {
    const Domain& domain = machine.domains[i];
    place.n_cores += domain.n_cores;
    place.memory_bytes += domain.memory_bytes;
    place.read_bytes_per_second += domain.read_bytes_per_second;
  }
  place.n_cores = std::max<std::size_t>(1, place.n_cores / grid_position.n_sharing);
  place.memory_bytes = std::min(place.memory_bytes / grid_position.n_sharing,
                                machine.node_memory_bytes / in_node.size());
  place.read_bytes_per_second /= static_cast<double>(grid_position.n_sharing);
  return place;
}

Place least_place(const Machine& machine, std::size_t n_ranks) {
  // Nodes are alike and the first has most ranks, the last used one fewest.
  const std::size_t n_nodes = machine.nodes_for(n_ranks);
  std::vector<Place> places;
  for (const std::size_t node : {std::size_t{0}, part_holding(n_ranks - 1, n_ranks, n_nodes)}) {
    const Range ranks = part_of(n_ranks, node, n_nodes);
    const std::size_t n_seats = std::min(ranks.size(), machine.domains.size());
    for (std::size_t grid_position = 0; grid_position < n_seats;
         ++grid_position) {  // who share a grid_position have the same
      const std::size_t rank = ranks.begin + part_of(ranks.size(), grid_position, n_seats).begin;
      places.push_back(place_of(machine, n_ranks, rank));
    }
  }
  return least_place(places);
}

Place least_place(std::span<const Place> places) {
  LR_CHECK(!places.empty());
  Place least = places.front();
  for (const Place& place : places) {
    least.n_cores = std::min(least.n_cores, place.n_cores);
    least.memory_bytes = std::min(least.memory_bytes, place.memory_bytes);
    least.read_bytes_per_second =
        std::min(least.read_bytes_per_second, place.read_bytes_per_second);
    least.core_multiply_adds_per_second =
        std::min(least.core_multiply_adds_per_second, place.core_multiply_adds_per_second);
  }
  return least;
}

Site site_of(const Machine& machine, std::size_t n_ranks) {
  Site site{.places = {}, .inside_node = machine.inside_node, .network = machine.network};
  for (std::size_t rank = 0; rank < n_ranks; ++rank) {
    site.places.push_back(place_of(machine, n_ranks, rank));
  }
  return site;
}

Site site_of(const Site& all, Range ranks) {
  Site site{.places = {}, .inside_node = all.inside_node, .network = all.network};
  std::map<std::size_t, std::size_t> nodes;  // new numbers by old ones
  for (std::size_t rank = ranks.begin; rank < ranks.end; ++rank) {
    Place& place = site.places.emplace_back(all.places[rank]);
    place.node = nodes.emplace(place.node, nodes.size()).first->second;
  }
  return site;
}

}  // namespace longreach::partition
