/// A number of every rank, on all ranks.
#pragma once

#include "dist/communicator.hpp"

#include <span>
#include <type_traits>
#include <vector>

namespace longreach::dist {

/// Every rank's `own`, by rank. Collective.
template <typename Value>
std::vector<Value> gather_values(Communicator& ranks, const Value& own) {
  static_assert(std::is_trivially_copyable_v<Value>);
  std::vector<Value> all(ranks.size());
  all[ranks.rank()] = own;
  std::vector<Range> parts;
  for (std::size_t r = 0; r < all.size(); ++r) {
    parts.push_back({r * sizeof(Value), (r + 1) * sizeof(Value)});
  }
  ranks.all_gather(std::as_writable_bytes(std::span(all)), parts);
  return all;
}

}  // namespace longreach::dist
