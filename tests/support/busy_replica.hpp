/// A replica that has several pieces of work under way, as its source sees it.
#pragma once

#include "generation/work_share.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <string>

namespace longreach::test {

struct BusyReplica {
  std::size_t n_room = 1;  ///< Pieces under way at most.
  /// Called for every piece in every step, with how many are under way and how many steps the piece
  /// has had; true ends it.
  std::function<bool(std::size_t piece, std::size_t n_under_way, std::size_t n_steps)> step;
  std::function<std::string(std::size_t piece)> result;  ///< The line.

  /// Works until none is left or the run is stopped. A piece counts 1 of work and 100 tokens.
  /// Returns what the source's finish does.
  bool work(generation::WorkSource& source) const {
    std::map<std::size_t, std::size_t> n_steps;  // of pieces under way
    generation::WorkProgress progress;
    do {
      while (n_steps.size() < n_room) {
        const std::size_t n_more = n_room - n_steps.size();
        const auto piece = n_steps.empty() ? source.wait_for_next(n_more) : source.next(n_more);
        if (!piece) break;
        n_steps.emplace(*piece, 0);
      }
      for (auto next = n_steps.begin(); next != n_steps.end();) {
        const auto current = next++;
        if (!step(current->first, n_steps.size(), current->second++)) continue;
        const std::size_t piece = current->first;
        n_steps.erase(current);
        progress.work_done += 1;
        progress.n_tokens_read += 100;
        source.add_result(piece, result(piece), progress);
      }
    } while (source.carry_on(progress) && !(n_steps.empty() && source.none_left()));
    return source.finish();
  }
};

}  // namespace longreach::test
