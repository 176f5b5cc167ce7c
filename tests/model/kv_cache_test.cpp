#include "model/kv_cache.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;

constexpr std::size_t kHeads = 2, kChannels = kHeads * kHeadSize;

/// n rows of keys and values appended in calls of the given lengths.
struct Filled {
  std::vector<float> k, v;
  KvCache cache;

  Filled(test::Random& random, std::size_t chunk_size, std::initializer_list<std::size_t> calls,
         std::size_t n_threads = 2)
      : cache(kHeads, chunk_size) {
    std::size_t n = 0;
    for (const std::size_t call : calls) n += call;
    k = random.normal(n * kChannels);
    v = random.normal(n * kChannels);
    kernels::ThreadPool pool(n_threads);
    std::size_t done = 0;
    for (const std::size_t call : calls) {
      cache.append(MatView<const float>(k.data() + done * kChannels, call, kChannels),
                   MatView<const float>(v.data() + done * kChannels, call, kChannels), pool);
      done += call;
    }
  }
};

/// Everything the cache answers, as one list of numbers.
std::vector<float> contents(const KvCache& cache) {
  std::vector<float> all;
  for (std::size_t head = 0; head < kHeads; ++head) {
    for (std::size_t row = 0; row < cache.size(); ++row) {
      const auto rows = cache.rows(row / cache.chunk_size(), head);
      const float* value = rows.values + row % cache.chunk_size() * kHeadSize;
      all.insert(all.end(), value, value + kHeadSize);
    }
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      std::vector<float> axis(kHeadSize), rows(cache.size()), means(cache.closed_chunks());
      axis[d] = 1;
      cache.score_rows(head, axis, rows);
      cache.score_chunks(head, {axis.data(), 1, kHeadSize}, {means.data(), 1, means.size()});
      all.insert(all.end(), rows.begin(), rows.end());
      all.insert(all.end(), means.begin(), means.end());
    }
  }
  return all;
}

TEST(KvCache, GivesBackWhatWasAppended) {
  for (const std::size_t chunk_size : {1, 8, 12, 32, 33, 64}) {
    test::Random random;
    const Filled f(random, chunk_size, {50, 1, 1, 48});
    EXPECT_EQ(f.cache.size(), 100U);
    EXPECT_EQ(f.cache.closed_chunks(), 100 / chunk_size);
    for (std::size_t head = 0; head < kHeads; ++head) {
      std::vector<float> axis(kHeadSize), keys(100);
      axis[5] = 1;
      f.cache.score_rows(head, axis, keys);
      for (std::size_t row = 0; row < 100; ++row) {
        const auto rows = f.cache.rows(row / chunk_size, head);
        EXPECT_EQ(keys[row], f.k[row * kChannels + head * kHeadSize + 5]);
        EXPECT_EQ(rows.values[row % chunk_size * kHeadSize + 9],
                  f.v[row * kChannels + head * kHeadSize + 9]);
      }
    }
  }
}

TEST(KvCache, MeansAreSumsInRowOrder) {
  test::Random random;
  const Filled f(random, 12, {100});
  std::vector<float> axis(kHeadSize), means(8);
  axis[7] = 1;
  f.cache.score_chunks(1, {axis.data(), 1, kHeadSize}, {means.data(), 1, 8});
  for (std::size_t chunk = 0; chunk < 8; ++chunk) {
    float sum = 0;
    for (std::size_t row = 0; row < 12; ++row)
      sum += f.k[(chunk * 12 + row) * kChannels + kHeadSize + 7];
    EXPECT_EQ(means[chunk], sum / 12);
  }
}

TEST(KvCache, SplitsAndThreadsChangeNoBit) {
  test::Random a, b, c;
  const Filled whole(a, 12, {100}, 1), parts(b, 12, {1, 30, 1, 1, 67}, 2);
  EXPECT_TRUE(test::same_bits(contents(parts.cache), contents(whole.cache)));
}

TEST(KvCache, SelectionPutsEachHeadsOwnRowsInOrder) {
  test::Random random;
  const Filled f(random, 8, {40});
  kernels::ThreadPool pool(2);
  const KvCache selected = f.cache.select({{3, 39, 0}, {7, 1, 20}}, pool);
  EXPECT_EQ(selected.size(), 3U);
  std::vector<float> axis(kHeadSize), keys(3);
  axis[0] = 1;
  selected.score_rows(1, axis, keys);
  for (const auto& [row, from] : {std::pair<std::size_t, std::size_t>{0, 7}, {1, 1}, {2, 20}}) {
    EXPECT_EQ(keys[row], f.k[from * kChannels + kHeadSize]);
    EXPECT_EQ(selected.rows(0, 1).values[row * kHeadSize + 3],
              f.v[from * kChannels + kHeadSize + 3]);
  }
}

TEST(KvCache, SelectedRowsFormChunksAgain) {
  test::Random random;
  const Filled f(random, 4, {20});
  kernels::ThreadPool pool(1);
  std::vector<std::uint32_t> identity(20);
  for (std::uint32_t i = 0; i < 20; ++i) identity[i] = i;
  EXPECT_TRUE(
      test::same_bits(contents(f.cache.select({identity, identity}, pool)), contents(f.cache)));
}

}  // namespace
}  // namespace longreach::model
