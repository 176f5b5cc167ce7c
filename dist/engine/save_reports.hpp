/// How the leader learns that all ranks have written a state: each rank says so when it has, and
/// nobody waits.
#pragma once

#include "dist/comm/communicator.hpp"

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace longreach::dist {

/// What a rank says of the state it has written, or failed to write. Sent as it lies.
struct SaveReport {
  std::array<char, 1024> error = {};  ///< Ends with a zero; empty if there is none.
};

/// Neither copied nor moved. Reports come in the order of the states.
class SaveReports {
 public:
  /// On all ranks of `ranks`, of which 0 leads; collective.
  explicit SaveReports(Communicator& ranks);
  SaveReports(const SaveReports&) = delete;
  SaveReports& operator=(const SaveReports&) = delete;

  // On ranks that do not lead.
  /// Says that the oldest state that was not reported is written, or why not.
  void send(const std::string& error);
  /// Returns when all that was said has left.
  void finish() {
    if (sent_) sent_->wait();
    sent_.reset();
  }

  // On the leader.
  /// All other ranks are going to report the state after so many tokens.
  void expect(std::size_t n_tokens);
  /// Tokens of the newest state that all other ranks have written since wait() returned; never
  /// waits. Errors: SaveError with what a rank says.
  std::size_t poll();
  /// Waits for all that is expected. Errors: as poll.
  void wait();
  /// The same, whatever they say.
  void drop();

 private:
  struct Expected {
    std::size_t n_tokens;
    std::vector<SaveReport> reports;
    std::vector<std::unique_ptr<Message>> messages;
  };

  /// All reports of the oldest state are there.
  void take();

  std::unique_ptr<Communicator>
      ranks_;  ///< Of its own: other messages between them have another order.
  std::deque<Expected> expected_;
  std::size_t n_written_ = 0;
  SaveReport leaving_;
  std::unique_ptr<Message> sent_;
};

}  // namespace longreach::dist
