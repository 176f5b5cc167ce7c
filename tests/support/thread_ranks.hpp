/// Ranks that are threads of this process, so that tests run what many ranks do without a launcher
/// and under the thread sanitizer. Stricter than MPI: no call is over before its partner has made
/// its own, calls that do not fit together are errors, and nothing is waited for without end.
#pragma once

#include "dist/comm/communicator.hpp"
#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace longreach::test {

using dist::CommunicationError;
using dist::Communicator;
using dist::Message;
using partition::Range;

/// What all ranks of a run share: one lock for everything, and the first error, which ends every
/// wait.
struct ThreadRun {
  explicit ThreadRun(std::chrono::milliseconds longest_wait) : limit(longest_wait) {}

  std::chrono::milliseconds limit;
  std::mutex mutex;
  std::condition_variable changed;
  std::exception_ptr first_error;

  /// Ends all waits; the first error is the one that counts. With the lock held.
  void fail(std::exception_ptr error) {
    if (!first_error) first_error = std::move(error);
    changed.notify_all();
  }

  /// For a call that can not be. With the lock held.
  [[noreturn]] void fail(const std::string& call, const std::string& text) {
    fail(std::make_exception_ptr(CommunicationError(call, text)));
    throw CommunicationError(call, text);
  }

  [[noreturn]] void fail_late(const std::string& call) {
    fail(call, fmt::format("the others did not come within {} ms", limit.count()));
  }

  /// Throws when a rank has failed. With the lock held.
  void check(const std::string& call) const {
    if (first_error) throw CommunicationError(call, "another rank failed");
  }

  /// Waits until `ready`, an error or the limit.
  template <typename Ready>
  void wait(std::unique_lock<std::mutex>& lock, const std::string& call, Ready ready) {
    const bool in_time =
        changed.wait_for(lock, limit, [&] { return ready() || first_error != nullptr; });
    if (ready()) return;
    if (!in_time) fail_late(call);
    check(call);
  }
};

/// One end of a message, and what came of it.
struct Transfer {
  std::span<const std::byte> source = {};  ///< Of a send.
  std::span<std::byte> target = {};        ///< Of a receive.
  std::size_t n_moved = 0;
  bool is_done = false;
  bool is_too_long = false;
};

/// Ends of messages from one rank to another that wait for their other ends, in order.
struct Mailbox {
  std::deque<std::shared_ptr<Transfer>> sends, receives;

  /// Moves the bytes of all messages both of whose ends are here.
  void deliver() {
    for (; !sends.empty() && !receives.empty(); sends.pop_front(), receives.pop_front()) {
      Transfer &send = *sends.front(), &receive = *receives.front();
      send.n_moved = receive.n_moved = std::min(send.source.size(), receive.target.size());
      receive.is_too_long = send.source.size() > receive.target.size();
      std::ranges::copy(send.source.first(send.n_moved), receive.target.begin());
      send.is_done = receive.is_done = true;
    }
  }

  /// Forgets an end whose bytes are going.
  void withdraw(const std::shared_ptr<Transfer>& transfer) {
    std::erase(sends, transfer);
    std::erase(receives, transfer);
  }
};

/// What a rank brings to a collective call; `group` is what it takes home from a split.
struct Posting {
  std::string call;
  std::span<const std::byte> sent = {};
  std::span<const Range> sent_parts = {};
  std::span<std::byte> received = {};
  std::span<const Range> received_parts = {};
  std::size_t number = 0;  ///< The root, or the color.
  std::unique_ptr<Communicator> group = nullptr;
};

/// A group of ranks. Everything in it is changed with the run's lock held.
struct ThreadGroup {
  ThreadGroup(std::shared_ptr<ThreadRun> the_run, std::size_t n_ranks)
      : run(std::move(the_run)), postings(n_ranks) {}

  std::shared_ptr<ThreadRun> run;
  std::vector<Posting*> postings;
  std::size_t n_here = 0;
  std::size_t n_meetings = 0;
  std::map<std::pair<std::size_t, std::size_t>, Mailbox> mailboxes;  ///< By sender and receiver.

  /// Returns when all ranks have brought their postings and `complete`, called by the last one, has
  /// done with them what the call says.
  template <typename Complete>
  void meet(std::size_t rank, Posting& posting, Complete complete) {
    std::unique_lock lock(run->mutex);
    run->check(posting.call);
    postings[rank] = &posting;
    if (++n_here < postings.size()) {
      const std::size_t meeting = n_meetings;
      run->wait(lock, posting.call, [&] { return n_meetings != meeting; });
      return;
    }
    for (std::size_t r = 0; r < postings.size(); ++r) {
      if (postings[r]->call != posting.call) {
        run->fail(posting.call,
                  fmt::format("rank {} calls this, rank {} {}", rank, r, postings[r]->call));
      }
    }
    complete();
    n_here = 0;
    ++n_meetings;
    run->changed.notify_all();
  }

  /// Copies a part to where it is expected.
  void copy(const std::string& call, std::span<const std::byte> from, Range from_part,
            std::span<std::byte> to, Range to_part) {
    if (from_part.size() != to_part.size()) {
      run->fail(call, fmt::format("{} bytes are sent where {} are expected", from_part.size(),
                                  to_part.size()));
    }
    if (from_part.end > from.size() || to_part.end > to.size()) {
      run->fail(call, "a part lies outside its buffer");
    }
    std::ranges::copy(from.subspan(from_part.begin, from_part.size()),
                      to.subspan(to_part.begin).begin());
  }
};

class ThreadMessage final : public Message {
 public:
  ThreadMessage(std::shared_ptr<ThreadGroup> group, std::shared_ptr<Transfer> transfer,
                std::string call)
      : group_(std::move(group)),
        transfer_(std::move(transfer)),
        call_(std::move(call)),
        latest_(std::chrono::steady_clock::now() + group_->run->limit) {}

  ~ThreadMessage() override {
    const std::lock_guard lock(group_->run->mutex);
    if (transfer_->is_done) return;
    LR_CHECK(std::uncaught_exceptions() > 0 || group_->run->first_error);
    for (auto& [_, mailbox] : group_->mailboxes) mailbox.withdraw(transfer_);
  }

  bool done() override {
    const std::lock_guard lock(group_->run->mutex);
    if (transfer_->is_done) return true;
    group_->run->check(call_);
    if (std::chrono::steady_clock::now() > latest_) group_->run->fail_late(call_);
    return false;
  }

  std::size_t wait() override {
    std::unique_lock lock(group_->run->mutex);
    group_->run->wait(lock, call_, [this] { return transfer_->is_done; });
    if (transfer_->is_too_long)
      throw CommunicationError(call_, "the message is longer than expected");
    return transfer_->n_moved;
  }

 private:
  std::shared_ptr<ThreadGroup> group_;
  std::shared_ptr<Transfer> transfer_;
  std::string call_;
  std::chrono::steady_clock::time_point latest_;
};

/// Collective calls of all groups, and messages sent, so far. A collective call counts when rank 0
/// makes it, as the others may already wait for the next one.
inline std::atomic<std::size_t> n_thread_calls{0};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, std::size_t rank)
      : group_(std::move(group)), rank_(rank) {}

  std::size_t rank() const override { return rank_; }
  std::size_t size() const override { return group_->postings.size(); }

  std::unique_ptr<Communicator> split(std::size_t color) override {
    Posting posting{.call = "split", .number = color};
    group_->meet(rank_, posting, [this] {
      std::map<std::size_t, std::vector<Posting*>> groups;
      for (Posting* one : group_->postings) groups[one->number].push_back(one);
      for (const auto& [_, members] : groups) {
        const auto group = std::make_shared<ThreadGroup>(group_->run, members.size());
        for (std::size_t rank = 0; rank < members.size(); ++rank) {
          members[rank]->group = std::make_unique<ThreadCommunicator>(group, rank);
        }
      }
    });
    return std::move(posting.group);
  }

  void all_gather(std::span<std::byte> all, std::span<const Range> parts) override {
    if (rank_ == 0) ++n_thread_calls;
    Posting posting{.call = "all_gather", .sent = all, .sent_parts = parts, .received = all};
    check_parts(posting.call, parts);
    group_->meet(rank_, posting, [&] {
      for (const Posting* to : group_->postings) {
        if (!std::ranges::equal(to->sent_parts, parts)) {
          group_->run->fail(posting.call, "the parts are not the same on all ranks");
        }
        for (std::size_t r = 0; r < size(); ++r) {
          const Posting* from = group_->postings[r];
          if (from != to) group_->copy(posting.call, from->sent, parts[r], to->received, parts[r]);
        }
      }
    });
  }

  void all_to_all(std::span<const std::byte> sent, std::span<const Range> sent_parts,
                  std::span<std::byte> received, std::span<const Range> received_parts) override {
    if (rank_ == 0) ++n_thread_calls;
    Posting posting{.call = "all_to_all",
                    .sent = sent,
                    .sent_parts = sent_parts,
                    .received = received,
                    .received_parts = received_parts};
    check_parts(posting.call, sent_parts);
    check_parts(posting.call, received_parts);
    group_->meet(rank_, posting, [&] {
      for (std::size_t i = 0; i < size(); ++i) {
        for (std::size_t j = 0; j < size(); ++j) {
          const Posting *from = group_->postings[i], *to = group_->postings[j];
          group_->copy(posting.call, from->sent, from->sent_parts[j], to->received,
                       to->received_parts[i]);
        }
      }
    });
  }

  void broadcast(std::span<std::byte> bytes, std::size_t root) override {
    if (rank_ == 0) ++n_thread_calls;
    Posting posting{.call = "broadcast", .sent = bytes, .received = bytes, .number = root};
    group_->meet(rank_, posting, [&] {
      const Posting* from = group_->postings.at(root);
      for (const Posting* to : group_->postings) {
        if (to->number != root) group_->run->fail(posting.call, "the ranks name different roots");
        if (to == from) continue;
        group_->copy(posting.call, from->sent, {0, from->sent.size()}, to->received,
                     {0, to->received.size()});
      }
    });
  }

  void barrier() override {
    if (rank_ == 0) ++n_thread_calls;
    Posting posting{.call = "barrier"};
    group_->meet(rank_, posting, [] {});
  }

  std::unique_ptr<Message> send(std::span<const std::byte> bytes, std::size_t to) override {
    ++n_thread_calls;
    const std::lock_guard lock(group_->run->mutex);
    const auto transfer = std::make_shared<Transfer>(Transfer{.source = bytes});
    return start("send", rank_, to, transfer, &Mailbox::sends);
  }

  std::unique_ptr<Message> receive(std::span<std::byte> bytes, std::size_t from) override {
    const std::lock_guard lock(group_->run->mutex);
    const auto transfer = std::make_shared<Transfer>(Transfer{.target = bytes});
    return start("receive", from, rank_, transfer, &Mailbox::receives);
  }

 private:
  void check_parts(const std::string& call, std::span<const Range> parts) {
    const std::lock_guard lock(group_->run->mutex);
    if (parts.size() != size()) group_->run->fail(call, "there is not one part for each rank");
  }

  std::unique_ptr<Message> start(const std::string& call, std::size_t from, std::size_t to,
                                 const std::shared_ptr<Transfer>& transfer,
                                 std::deque<std::shared_ptr<Transfer>> Mailbox::*ends) {
    group_->run->check(call);
    if (from == to || std::max(from, to) >= size()) {
      group_->run->fail(call, fmt::format("there is no message from rank {} to {}", from, to));
    }
    Mailbox& mailbox = group_->mailboxes[{from, to}];
    (mailbox.*ends).push_back(transfer);
    mailbox.deliver();
    if (transfer->is_done) group_->run->changed.notify_all();
    return std::make_unique<ThreadMessage>(group_, transfer, call);
  }

  std::shared_ptr<ThreadGroup> group_;
  std::size_t rank_;
};

/// Calls `body` on n_ranks threads, each with its communicator, and returns when all have returned.
/// When one throws, the calls of the others throw too, and the first error is thrown here; so is
/// one when a rank waits longer than `limit` for others.
inline void run_ranks(std::size_t n_ranks, const std::function<void(Communicator&)>& body,
                      std::chrono::milliseconds limit = std::chrono::seconds(60)) {
  const auto run = std::make_shared<ThreadRun>(limit);
  const auto group = std::make_shared<ThreadGroup>(run, n_ranks);
  {
    std::vector<std::jthread> ranks;
    for (std::size_t rank = 0; rank < n_ranks; ++rank) {
      ranks.emplace_back([&run, &group, &body, rank] {
        try {
          ThreadCommunicator communicator(group, rank);
          body(communicator);
        } catch (...) {
          const std::lock_guard lock(run->mutex);
          run->fail(std::current_exception());
        }
      });
    }
  }
  if (run->first_error) std::rethrow_exception(run->first_error);
}

}  // namespace longreach::test
