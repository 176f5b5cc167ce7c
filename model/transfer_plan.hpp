/// What every shard sends to every other one in an exchange whose sizes all of them know.
#pragma once

#include "model/context.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace longreach::model {

/// The bytes that a shard sends and receives, consecutive by shard. All shards know who sends what,
/// so nobody asks.
class TransferPlan {
 public:
  /// n_bytes(from, to) says what shard `from` sends to shard `to`.
  template <typename BytesBetween>
  TransferPlan(partition::Shard own, BytesBetween&& n_bytes) {
    std::size_t n_sent = 0, n_received = 0;
    for (std::size_t s = 0; s < own.count; ++s) {
      sent_.push_back({n_sent, n_sent + n_bytes(own.index, s)});
      received_.push_back({n_received, n_received + n_bytes(s, own.index)});
      n_sent = sent_.back().end;
      n_received = received_.back().end;
    }
  }

  /// Where in the sent, in the received bytes those to, those from a shard lie.
  std::span<const partition::Range> sent() const { return sent_; }
  std::span<const partition::Range> received() const { return received_; }
  std::size_t sent_bytes() const { return sent_.back().end; }
  std::size_t received_bytes() const { return received_.back().end; }

  /// Carries it out. Collective: all shards, with plans that fit together.
  void run(Exchange& exchange, Traffic traffic, std::span<const std::byte> sent,
           std::span<std::byte> received) const {
    exchange.all_to_all(traffic, sent, sent_, received, received_);
  }

 private:
  std::vector<partition::Range> sent_, received_;
};

/// Exchanges items: for_items(from, to, item) calls item(x) for what shard `from` sends to shard
/// `to`, in order and the same on both; bytes_of(x) says how much that is. pack(x, to) writes an
/// item of this shard, unpack(x, from) takes one that has come, whose bytes stay until the next
/// exchange. Collective: all shards. Uses the workspace's buffers.
template <typename ForItems, typename BytesOf, typename Pack, typename Unpack>
void exchange_items(Context& context, Traffic traffic, ForItems&& for_items, BytesOf&& bytes_of,
                    Pack&& pack, Unpack&& unpack) {
  const partition::Shard own = context.exchange.shard();
  const TransferPlan plan(own, [&](std::size_t from, std::size_t to) {
    std::size_t n_bytes = 0;
    for_items(from, to, [&](const auto& item) { n_bytes += bytes_of(item); });
    return n_bytes;
  });
  const std::span<std::byte> sent = context.workspace.sent.bytes(plan.sent_bytes());
  std::byte* next = sent.data();
  for (std::size_t s = 0; s < own.count; ++s) {
    for_items(own.index, s, [&](const auto& item) {
      pack(item, next);
      next += bytes_of(item);
    });
  }
  const std::span<std::byte> received = context.workspace.received.bytes(plan.received_bytes());
  plan.run(context.exchange, traffic, sent, received);
  const std::byte* came = received.data();
  for (std::size_t s = 0; s < own.count; ++s) {
    for_items(s, own.index, [&](const auto& item) {
      unpack(item, came);
      came += bytes_of(item);
    });
  }
}

}  // namespace longreach::model
