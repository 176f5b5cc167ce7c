/// What the engine needs of message passing: a few collectives and messages between two ranks.
///
/// Forms: one rank alone (dist/comm/lone_communicator), MPI (dist/comm/mpi_communicator), and
/// threads of one process (tests/support/thread_ranks), with which tests run many ranks under the
/// thread sanitizer. Only bytes are moved, nothing is added up: arithmetic happens on one rank in a
/// defined order.
#pragma once

#include "partition/ownership.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

namespace longreach::dist {

using partition::Range;

/// A call between ranks failed. The job cannot go on: what the others know of it is not known.
class CommunicationError : public std::runtime_error {
 public:
  CommunicationError(const std::string& call, const std::string& text)
      : std::runtime_error(call + ": " + text) {}
};

/// A message under way between two ranks. Its bytes must stay where they are until it is done.
class Message {
 public:
  Message() = default;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  /// Requires: done, unless an error is ending the program.
  virtual ~Message() = default;

  /// Whether the bytes have left, or have come. Carries the message on, and never waits.
  virtual bool done() = 0;
  /// Waits until done. Returns the bytes moved.
  virtual std::size_t wait() = 0;
};

/// A group of ranks as one of them sees it. Calls of a rank come from one thread at a time.
/// Collective calls are made by all ranks of the group in the same order, with arguments that agree
/// as said; messages from one rank to another arrive in the order they were sent. The end of a
/// communicator is collective too, unless an error is ending the program.
/// Errors of all calls: CommunicationError.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  virtual std::size_t rank() const = 0;
  virtual std::size_t size() const = 0;

  /// The ranks that give the same color, in order of their ranks here. Collective.
  virtual std::unique_ptr<Communicator> split(std::size_t color) = 0;

  /// Part r of `all` goes from rank r to everybody. Collective; the parts, which may be empty, are
  /// the same on all ranks.
  virtual void all_gather(std::span<std::byte> all, std::span<const Range> parts) = 0;

  /// Part r of `sent` goes to rank r, and part r of `received` comes from rank r. Collective; what
  /// a rank sends to another is as long as what that one expects. A rank's part for itself is
  /// copied.
  virtual void all_to_all(std::span<const std::byte> sent, std::span<const Range> sent_parts,
                          std::span<std::byte> received, std::span<const Range> received_parts) = 0;

  /// `bytes` go from the root to everybody. Collective; the same size and root on all ranks.
  virtual void broadcast(std::span<std::byte> bytes, std::size_t root) = 0;

  /// Returns when all ranks have called it. Collective.
  virtual void barrier() = 0;

  /// Sends `bytes` to another rank.
  virtual std::unique_ptr<Message> send(std::span<const std::byte> bytes, std::size_t to) = 0;
  /// Receives the next message of another rank, which is at most as long as `bytes`.
  virtual std::unique_ptr<Message> receive(std::span<std::byte> bytes, std::size_t from) = 0;
};

}  // namespace longreach::dist
