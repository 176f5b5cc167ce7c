/// Numbers of every rank: one each on all ranks, or lists on rank 0.
#pragma once

#include "dist/comm/communicator.hpp"

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

/// Every rank's list, by rank; on rank 0 alone, and empty elsewhere. Collective.
template <typename Value>
std::vector<std::vector<Value>> gather_lists(Communicator& ranks, std::span<const Value> own) {
  const std::vector<std::size_t> counts = gather_values(ranks, own.size());
  std::vector<Range> sent(ranks.size()), received(ranks.size());
  sent[0].end = own.size_bytes();
  std::size_t n_all = 0;
  if (ranks.rank() == 0) {
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      received[r].begin = n_all * sizeof(Value);
      n_all += counts[r];
      received[r].end = n_all * sizeof(Value);
    }
  }
  std::vector<Value> all(n_all);
  ranks.all_to_all(std::as_bytes(own), sent, std::as_writable_bytes(std::span(all)), received);
  std::vector<std::vector<Value>> lists;
  if (ranks.rank() != 0) return lists;
  auto next = all.begin();
  for (const std::size_t count : counts) {
    const auto end = next + static_cast<std::ptrdiff_t>(count);
    lists.emplace_back(next, end);
    next = end;
  }
  return lists;
}

}  // namespace longreach::dist
