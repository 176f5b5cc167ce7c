/// What every form of a communicator must do, for groups of any size. Each case is called on all
/// ranks of a group; it makes no collective call behind a check that ends it.
#pragma once

#include "dist/comm/communicator.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace longreach::test {

using Bytes = std::vector<std::byte>;
using dist::Communicator;
using dist::Message;
using partition::Range;

inline constexpr std::byte kUntouched{0xEE};

/// n bytes that tell where they come from and where they should go.
inline Bytes bytes_for(std::size_t n, std::size_t from, std::size_t to = 0) {
  Bytes bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = std::byte(1 + (31 * from + 7 * to + i) % 200);
  return bytes;
}

/// Ranges of these sizes with gaps between them, the last one first when `begin_at_end`.
enum class PartOrder { kAscending, kDescending };
inline std::vector<Range> parts_with_gaps(const std::vector<std::size_t>& sizes, PartOrder order) {
  std::vector<Range> parts(sizes.size());
  std::size_t at = 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::size_t part = order == PartOrder::kAscending ? i : sizes.size() - 1 - i;
    parts[part] = {at, at + sizes[part]};
    at += sizes[part] + part % 3;
  }
  return parts;
}

/// A buffer that ends behind the last of the parts, with nothing in it yet.
inline Bytes buffer_for(const std::vector<Range>& parts) {
  return Bytes(std::ranges::max(parts, {}, &Range::end).end + 1, kUntouched);
}

inline void put(Bytes& buffer, Range part, const Bytes& bytes) {
  std::ranges::copy(bytes, buffer.begin() + static_cast<std::ptrdiff_t>(part.begin));
}

/// Sizes of 0, 1 and more bytes, different for each seed.
inline std::vector<std::size_t> uneven_sizes(std::size_t n, std::size_t seed) {
  std::vector<std::size_t> sizes(n);
  for (std::size_t i = 0; i < n; ++i) sizes[i] = (5 * i + 3 * seed) % 7 * ((i + seed) % 4);
  return sizes;
}

/// Gathers parts of these sizes and looks at every byte.
inline void check_gather(Communicator& ranks, const std::vector<std::size_t>& sizes,
                         PartOrder order) {
  const std::vector<Range> parts = parts_with_gaps(sizes, order);
  Bytes all = buffer_for(parts), expected = all;
  put(all, parts[ranks.rank()], bytes_for(sizes[ranks.rank()], ranks.rank()));
  for (std::size_t r = 0; r < sizes.size(); ++r) put(expected, parts[r], bytes_for(sizes[r], r));
  ranks.all_gather(all, parts);
  EXPECT_EQ(all, expected);
}

inline void gathers_parts_of_any_size(Communicator& ranks) {
  for (std::size_t seed = 0; seed < 5; ++seed) {
    check_gather(ranks, uneven_sizes(ranks.size(), seed), PartOrder::kAscending);
    check_gather(ranks, uneven_sizes(ranks.size(), seed), PartOrder::kDescending);
  }
  std::vector<std::size_t> one_alone(ranks.size(), 0);
  check_gather(ranks, one_alone, PartOrder::kAscending);
  one_alone.back() = 100000;
  check_gather(ranks, one_alone, PartOrder::kAscending);
}

inline void exchanges_parts_of_any_size(Communicator& ranks) {
  const std::size_t n = ranks.size(), rank = ranks.rank();
  for (std::size_t seed = 0; seed < 5; ++seed) {
    // Row r: what rank r sends to each. The last seed has a large one.
    std::vector<std::vector<std::size_t>> sizes(n);
    for (std::size_t r = 0; r < n; ++r) sizes[r] = uneven_sizes(n, seed + r);
    if (seed == 4) sizes[0][n - 1] = 100000;
    std::vector<std::size_t> from_all(n);
    for (std::size_t r = 0; r < n; ++r) from_all[r] = sizes[r][rank];

    const auto sent_parts = parts_with_gaps(sizes[rank], PartOrder::kDescending);
    const auto received_parts = parts_with_gaps(from_all, PartOrder::kAscending);
    Bytes sent = buffer_for(sent_parts);
    Bytes received = buffer_for(received_parts), expected = received;
    for (std::size_t r = 0; r < n; ++r) {
      put(sent, sent_parts[r], bytes_for(sizes[rank][r], rank, r));
      put(expected, received_parts[r], bytes_for(from_all[r], r, rank));
    }
    ranks.all_to_all(sent, sent_parts, received, received_parts);
    EXPECT_EQ(received, expected) << "seed " << seed;
  }
}

inline void broadcasts_from_every_rank(Communicator& ranks) {
  for (std::size_t root = 0; root < ranks.size(); ++root) {
    for (const std::size_t n_bytes : {0, 1, 13, 100000}) {
      Bytes bytes = ranks.rank() == root ? bytes_for(n_bytes, root) : Bytes(n_bytes, kUntouched);
      ranks.broadcast(bytes, root);
      EXPECT_EQ(bytes, bytes_for(n_bytes, root));
    }
  }
}

/// One rank after the other comes late, and leaves a file before it does.
inline void barrier_waits_for_the_last(Communicator& ranks) {
  std::string name(1000, '\0');
  std::unique_ptr<TempFolder> folder;
  if (ranks.rank() == 0) {
    folder = std::make_unique<TempFolder>();
    folder->path().string().copy(name.data(), name.size());
  }
  ranks.broadcast(std::as_writable_bytes(std::span(name)), 0);
  for (std::size_t late = 0; late < ranks.size(); ++late) {
    const auto file = std::filesystem::path(name.c_str()) / std::to_string(late);
    if (ranks.rank() == late) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::ofstream{file};
    }
    ranks.barrier();
    EXPECT_TRUE(std::filesystem::exists(file)) << late;
  }
  ranks.barrier();
}

/// Groups of 1, 2, 3, ... ranks, the higher ranks in the lower colors; then each of them again in
/// two.
inline void splits_into_uneven_groups(Communicator& ranks) {
  std::vector<std::size_t> group_of(ranks.size());
  for (std::size_t r = 0, group = 0, left = 1; r < ranks.size(); ++r) {
    group_of[r] = group;
    if (--left == 0) left = ++group + 1;
  }
  const std::size_t own = group_of[ranks.rank()];
  const auto n_own = static_cast<std::size_t>(std::ranges::count(group_of, own));
  const auto first = static_cast<std::size_t>(std::ranges::find(group_of, own) - group_of.begin());

  const std::unique_ptr<Communicator> group = ranks.split(100 - own);
  EXPECT_EQ(group->size(), n_own);
  EXPECT_EQ(group->rank(), ranks.rank() - first);
  check_gather(*group, uneven_sizes(group->size(), own), PartOrder::kAscending);
  // The groups make different numbers of calls between those of all ranks.
  for (std::size_t i = 0; i < own; ++i) group->barrier();
  check_gather(ranks, uneven_sizes(ranks.size(), 1), PartOrder::kAscending);

  const std::unique_ptr<Communicator> odd_or_even = group->split(group->rank() % 2);
  EXPECT_EQ(odd_or_even->rank(), group->rank() / 2);
  EXPECT_EQ(odd_or_even->size(), (group->size() + 1 - group->rank() % 2) / 2);
  check_gather(*odd_or_even, uneven_sizes(odd_or_even->size(), 2), PartOrder::kAscending);
}

/// A message and the bytes it moves.
struct Packet {
  Bytes bytes;
  std::unique_ptr<Message> message = nullptr;
};

/// Every rank sends to every other one and receives from it, all at once.
inline void messages_pass_each_other(Communicator& ranks) {
  for (const std::size_t n_bytes : {0, 1, 1000, 70000}) {
    std::vector<Packet> sent, received;
    for (std::size_t other = 0; other < ranks.size(); ++other) {
      if (other == ranks.rank()) continue;
      Packet& from = received.emplace_back(Packet{Bytes(n_bytes, kUntouched)});
      from.message = ranks.receive(from.bytes, other);
      Packet& to = sent.emplace_back(Packet{bytes_for(n_bytes, ranks.rank(), other)});
      to.message = ranks.send(to.bytes, other);
    }
    for (std::size_t other = 0, i = 0; other < ranks.size(); ++other) {
      if (other == ranks.rank()) continue;
      EXPECT_EQ(received[i].message->wait(), n_bytes);
      EXPECT_EQ(received[i].bytes, bytes_for(n_bytes, other, ranks.rank()));
      ++i;
    }
    for (const Packet& to : sent) EXPECT_EQ(to.message->wait(), n_bytes);
  }
}

/// Round the ring, sends before their receives; some are done when somebody asks, others when
/// waited for.
inline void messages_keep_their_order(Communicator& ranks) {
  constexpr std::size_t kMessages = 20;
  const std::size_t n = ranks.size(), next = (ranks.rank() + 1) % n;
  const std::size_t previous = (ranks.rank() + n - 1) % n;
  if (n == 1) return;
  const auto size_of = [](std::size_t i) { return i % 5 == 4 ? 50000 + i : 3 * i; };
  std::vector<Packet> sent(kMessages), received(kMessages);
  for (std::size_t i = 0; i < kMessages; ++i) {
    sent[i].bytes = bytes_for(size_of(i), ranks.rank(), i);
    sent[i].message = ranks.send(sent[i].bytes, next);
  }
  for (std::size_t i = 0; i < kMessages; ++i) {
    received[i].bytes.assign(size_of(i), kUntouched);
    received[i].message = ranks.receive(received[i].bytes, previous);
  }
  for (std::size_t i = 0; i < kMessages; i += 2) {
    while (!received[i].message->done()) std::this_thread::yield();
  }
  for (std::size_t i = 0; i < kMessages; ++i) {
    EXPECT_EQ(received[i].message->wait(), size_of(i));
    EXPECT_EQ(received[i].bytes, bytes_for(size_of(i), previous, i));
    sent[i].message->wait();
    EXPECT_TRUE(sent[i].message->done());
  }
}

inline void a_receive_may_be_longer_than_its_message(Communicator& ranks) {
  if (ranks.size() == 1) return;
  const std::size_t last = ranks.size() - 1;
  for (const std::size_t n_bytes : {0, 1, 37, 70000}) {
    if (ranks.rank() == 0) {
      const Bytes bytes = bytes_for(n_bytes, 0);
      ranks.send(bytes, last)->wait();
    } else if (ranks.rank() == last) {
      Bytes bytes(100000, kUntouched), expected = bytes;
      put(expected, {0, n_bytes}, bytes_for(n_bytes, 0));
      EXPECT_EQ(ranks.receive(bytes, 0)->wait(), n_bytes);
      EXPECT_EQ(bytes, expected);
    }
  }
}

inline void a_message_longer_than_its_receive_is_an_error(Communicator& ranks) {
  if (ranks.size() == 1) return;
  Bytes bytes = bytes_for(100, 0);
  if (ranks.rank() == 0) {
    ranks.send(bytes, 1)->wait();
  } else if (ranks.rank() == 1) {
    const auto message = ranks.receive(std::span(bytes).first(40), 0);
    EXPECT_THROW(message->wait(), dist::CommunicationError);
  }
}

/// A case and its name.
struct CommunicatorCase {
  const char* name;
  void (*run)(Communicator&);
};

inline constexpr CommunicatorCase kCommunicatorCases[] = {
    {"GathersPartsOfAnySize", gathers_parts_of_any_size},
    {"ExchangesPartsOfAnySize", exchanges_parts_of_any_size},
    {"BroadcastsFromEveryRank", broadcasts_from_every_rank},
    {"BarrierWaitsForTheLast", barrier_waits_for_the_last},
    {"SplitsIntoUnevenGroups", splits_into_uneven_groups},
    {"MessagesPassEachOther", messages_pass_each_other},
    {"MessagesKeepTheirOrder", messages_keep_their_order},
    {"AReceiveMayBeLongerThanItsMessage", a_receive_may_be_longer_than_its_message},
    {"AMessageLongerThanItsReceiveIsAnError", a_message_longer_than_its_receive_is_an_error},
};

}  // namespace longreach::test
