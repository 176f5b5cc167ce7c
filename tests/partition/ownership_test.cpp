#include "partition/ownership.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace longreach::partition {
namespace {

/// Numbers of parts: all small ones, and the largest.
std::vector<std::size_t> part_counts() {
  std::vector<std::size_t> counts;
  for (std::size_t n = 1; n <= 64; ++n) counts.push_back(n);
  counts.push_back(4096);
  return counts;
}

TEST(Ownership, PartsCoverInOrderAndDifferByOneAtMost) {
  for (const std::size_t n_parts : part_counts()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      std::size_t end = 0;
      for (std::size_t i = 0; i < n_parts; ++i) {
        const Range part = part_of(n, i, n_parts);
        ASSERT_EQ(part.begin, end) << n << " " << n_parts;
        end = part.end;
        ASSERT_LE(part.size(), part_of(n, 0, n_parts).size());
        ASSERT_LE(part_of(n, 0, n_parts).size(), part.size() + 1);
        for (std::size_t unit = part.begin; unit < part.end; ++unit)
          ASSERT_EQ(part_holding(unit, n, n_parts), i) << n << " " << n_parts;
      }
      ASSERT_EQ(end, n);
    }
  }
}

TEST(Ownership, ColumnsAreWholePanelsButForTheLast) {
  for (const std::size_t n_parts : part_counts()) {
    for (const std::size_t n : {0, 1, 31, 32, 33, 320, 2560, 65536, 65535}) {
      std::size_t end = 0, padded_columns = 0;
      for (std::size_t i = 0; i < n_parts; ++i) {
        const Range columns = columns_of(n, {i, n_parts});
        ASSERT_EQ(columns.begin, end);
        end = columns.end;
        ASSERT_TRUE(columns.end % kPanelColumns == 0 || columns.end == n);
        padded_columns += padded(columns.size());
      }
      ASSERT_EQ(end, n);
      ASSERT_EQ(padded_columns, padded(n)) << "dividing must not add padding";
    }
  }
}

TEST(Ownership, ChunksGoRound) {
  constexpr std::size_t kChunk = 5;
  for (const std::size_t n_shards : part_counts()) {
    std::vector<std::size_t> chunks(n_shards), tokens(n_shards);
    for (std::size_t token = 0; token <= 333; ++token) {
      for (std::size_t i = 0; i < n_shards; ++i) {
        ASSERT_EQ(tokens_of(token, kChunk, {i, n_shards}), tokens[i]) << token << " " << n_shards;
        ASSERT_EQ(chunks_of(token / kChunk, {i, n_shards}), chunks[i]) << token << " " << n_shards;
        ASSERT_LE(tokens[i], tokens[0]) << "shard 0 never owns less than another one";
      }
      const auto chunk = GlobalChunk(token / kChunk);
      const std::size_t owner = owner_of_chunk(chunk, n_shards);
      ASSERT_EQ(number_of(local_chunk(chunk, n_shards)), chunks[owner]);
      ASSERT_EQ(global_chunk(local_chunk(chunk, n_shards), {owner, n_shards}), chunk);
      ++tokens[owner];
      if (token % kChunk == kChunk - 1) ++chunks[owner];
    }
  }
}

}  // namespace
}  // namespace longreach::partition
