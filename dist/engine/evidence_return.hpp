/// How evidence comes to the leader: every rank sends what the heads of its blocks gave weight to,
/// for the rows of a batch of logits, and the leader adds it up.
#pragma once

#include "dist/comm/communicator.hpp"
#include "dist/trace/evidence.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace longreach::dist {

/// One end of the way. Batches come in the order of the steps.
class EvidenceReturn {
 public:
  /// On all ranks of `ranks`, of which 0 leads; collective.
  explicit EvidenceReturn(Communicator& ranks);

  /// Takes this rank's part of the next batch; on all ranks. Never waits, as the leader may be
  /// waiting for this rank elsewhere.
  void send(std::vector<RowEvidence> part);
  /// Returns when all that was sent has left.
  void finish();
  /// Sent so far.
  std::uint64_t sent_bytes() const { return sent_bytes_; }

  // On the leader, of the oldest batch that was not taken.
  /// Whether the parts of all ranks are there; never waits.
  bool is_complete();
  /// Waits until they are.
  void wait();
  /// Their sum. Requires: they are there.
  std::vector<RowEvidence> take();

 private:
  /// A rank's part on its way: how long it is, then what it is if it is not empty.
  struct Part {
    std::uint64_t n_rows = 0;
    std::vector<RowEvidence> evidence;
    std::unique_ptr<Message> size_message, message;
  };

  void start_receiving();
  /// Receives a part whose size is known.
  void receive_rest(Part& part, std::size_t from);

  std::unique_ptr<Communicator>
      ranks_;  ///< Of its own: other messages between them have another order.
  std::deque<std::unique_ptr<Part>> leaving_;  ///< On the others; the oldest first.
  std::deque<std::vector<RowEvidence>> own_;   ///< On the leader; the oldest first.
  std::vector<Part> coming_;                   ///< By rank, from 1 on.
  std::uint64_t sent_bytes_ = 0;
};

}  // namespace longreach::dist
