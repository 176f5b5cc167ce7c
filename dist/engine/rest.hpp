/// How ranks wait while the leader has nothing to do: MPI's own waiting takes a core for each.
#pragma once

#include "dist/comm/communicator.hpp"

#include <memory>

namespace longreach::dist {

/// Neither copied nor moved.
class Rest {
 public:
  /// On all ranks of `ranks`, of which 0 leads; collective.
  explicit Rest(Communicator& ranks) : ranks_(ranks.split(0)) {}
  Rest(const Rest&) = delete;
  Rest& operator=(const Rest&) = delete;

  /// On ranks that do not lead: returns once the leader wakes them, a millisecond later at most.
  void wait_until_woken();
  /// On the leader: wakes all others, all of which wait or soon will.
  void wake();

 private:
  std::unique_ptr<Communicator> ranks_;  ///< Of its own: other messages have another order.
};

}  // namespace longreach::dist
