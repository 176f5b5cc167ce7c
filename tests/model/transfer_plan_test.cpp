/// Exchanges of sizes that all shards know, with shards that are threads.
#include "model/transfer_plan.hpp"

#include "tests/support/attention_context.hpp"
#include "tests/support/thread_exchange.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace longreach::model {
namespace {

using partition::Range;

/// An item on its way between two shards: its number among theirs.
struct Item {
  std::size_t from, to, number;
  bool operator==(const Item&) const = default;
};

/// Some pairs of shards have several items, of unlike sizes that are seldom whole floats; some have
/// none. Shard 2 sends nothing, shard 1 receives nothing, and a shard may have some for itself.
std::size_t n_items(std::size_t from, std::size_t to) {
  return from == 2 || to == 1 ? 0 : (3 * from + 2 * to) % 4;
}
std::size_t size_of(const Item& item) { return 1 + 7 * item.from + 3 * item.to + 5 * item.number; }
std::byte byte_of(const Item& item, std::size_t i) {
  return static_cast<std::byte>(61 * item.from + 31 * item.to + 17 * item.number + 3 * i + 1);
}

/// Whether an item's bytes are there.
bool lies_at(const Item& item, const std::byte* bytes) {
  for (std::size_t i = 0; i < size_of(item); ++i) {
    if (bytes[i] != byte_of(item, i)) return false;
  }
  return true;
}

std::size_t bytes_between(std::size_t from, std::size_t to) {
  std::size_t n_bytes = 0;
  for (std::size_t i = 0; i < n_items(from, to); ++i) n_bytes += size_of({from, to, i});
  return n_bytes;
}

TEST(TransferPlanTest, PartsAreConsecutiveByShard) {
  const std::size_t n_bytes[3][3] = {{0, 5, 2}, {7, 1, 0}, {0, 0, 4}};  // [from][to]
  const TransferPlan plan({1, 3},
                          [&](std::size_t from, std::size_t to) { return n_bytes[from][to]; });
  const std::vector<Range> sent(plan.sent().begin(), plan.sent().end());
  const std::vector<Range> received(plan.received().begin(), plan.received().end());
  EXPECT_EQ(sent, (std::vector<Range>{{0, 7}, {7, 8}, {8, 8}}));
  EXPECT_EQ(received, (std::vector<Range>{{0, 5}, {5, 6}, {6, 6}}));
  EXPECT_EQ(plan.sent_bytes(), 8U);
  EXPECT_EQ(plan.received_bytes(), 6U);
}

TEST(TransferPlanTest, BytesComeFromTheShardAndInTheOrderPlanned) {
  for (const std::size_t n_shards : {1U, 2U, 3U, 5U}) {
    test::run_shards(n_shards, nullptr, [&](Exchange& exchange) {
      const std::size_t own = exchange.shard().index;
      const TransferPlan plan(exchange.shard(), bytes_between);
      std::vector<std::byte> sent, received(plan.received_bytes());
      for (std::size_t to = 0; to < n_shards; ++to) {
        for (std::size_t i = 0; i < n_items(own, to); ++i) {
          const Item item{own, to, i};
          for (std::size_t b = 0; b < size_of(item); ++b) sent.push_back(byte_of(item, b));
        }
      }
      EXPECT_EQ(plan.sent_bytes(), sent.size());
      plan.run(exchange, Traffic::kChunks, sent, received);
      const std::byte* next = received.data();
      for (std::size_t from = 0; from < n_shards; ++from) {
        for (std::size_t i = 0; i < n_items(from, own); ++i) {
          const Item item{from, own, i};
          EXPECT_TRUE(lies_at(item, next)) << "item " << i << " from " << from << " to " << own;
          next += size_of(item);
        }
      }
      EXPECT_EQ(next, received.data() + received.size());
    });
  }
}

/// What exchange_items asked a shard to pack, and gave it to unpack, in order.
struct Exchanged {
  std::vector<Item> packed, unpacked;
  std::vector<const std::byte*> bytes;  ///< Of those unpacked.
};

Exchanged exchange_all(Context& context) {
  Exchanged result;
  exchange_items(
      context, Traffic::kChunks,
      [](std::size_t from, std::size_t to, auto&& visit) {
        for (std::size_t i = 0; i < n_items(from, to); ++i) visit(Item{from, to, i});
      },
      size_of,
      [&](const Item& item, std::byte* to) {
        result.packed.push_back(item);
        for (std::size_t b = 0; b < size_of(item); ++b) to[b] = byte_of(item, b);
      },
      [&](const Item& item, const std::byte* from) {
        result.unpacked.push_back(item);
        result.bytes.push_back(from);
      });
  return result;
}

TEST(ExchangeItems, EveryItemComesOnceInOrderAndStays) {
  for (const std::size_t n_shards : {2U, 3U, 5U}) {
    test::run_shards(n_shards, nullptr, [&](Exchange& exchange) {
      const std::size_t own = exchange.shard().index;
      test::AttentionContext with(1, AttentionMode::kFull, 1, 1, &exchange);
      for (std::size_t round = 0; round < 2; ++round) {  // the second finds used buffers
        const Exchanged result = exchange_all(with.context);
        std::vector<Item> packed, unpacked;
        for (std::size_t s = 0; s < n_shards; ++s) {
          for (std::size_t i = 0; i < n_items(own, s); ++i) packed.push_back({own, s, i});
          for (std::size_t i = 0; i < n_items(s, own); ++i) unpacked.push_back({s, own, i});
        }
        EXPECT_EQ(result.packed, packed);
        EXPECT_EQ(result.unpacked, unpacked);
        for (std::size_t i = 0; i < result.unpacked.size(); ++i) {
          const Item& item = result.unpacked[i];
          EXPECT_TRUE(lies_at(item, result.bytes[i]))
              << "item " << item.number << " from " << item.from << " to " << item.to;
        }
      }
    });
  }
}

TEST(ExchangeItems, TheOnlyShardHasNothingToExchange) {
  test::AttentionContext with(1, AttentionMode::kFull, 1, 1);
  EXPECT_EQ(n_items(0, 0), 0U);
  const Exchanged result = exchange_all(with.context);
  EXPECT_TRUE(result.packed.empty());
  EXPECT_TRUE(result.unpacked.empty());
  const TransferPlan plan({0, 1}, bytes_between);
  EXPECT_EQ(plan.sent_bytes(), 0U);
  EXPECT_EQ(plan.received_bytes(), 0U);
}

}  // namespace
}  // namespace longreach::model
