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
  NoExchange exchange;
  KvCache cache;

  Filled(test::Random& random, std::size_t chunk_size, std::initializer_list<std::size_t> calls,
         std::size_t n_threads = 2)
      : cache(kHeads, chunk_size, exchange) {
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

void score_all_rows(const KvCache& cache, std::size_t head, std::span<const float> q,
                    std::span<float> scores) {
  for (std::size_t first = 0; first < scores.size(); first += cache.chunk_size()) {
    cache.score_rows(head, first / cache.chunk_size(), q,
                     scores.subspan(first, std::min(cache.chunk_size(), scores.size() - first)));
  }
}

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
      score_all_rows(cache, head, axis, rows);
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
      score_all_rows(f.cache, head, axis, keys);
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

TEST(KvCache, AForkIsTheSameAndGoesItsOwnWay) {
  for (const std::size_t chunk_size : {1, 8, 12, 64}) {
    test::Random random;
    Filled f(random, chunk_size, {40});
    kernels::ThreadPool pool(1);
    KvCache fork = f.cache.fork();
    EXPECT_TRUE(test::same_bits(contents(fork), contents(f.cache)));
    const auto before = contents(f.cache);
    const std::vector<float> more = random.normal(70 * kChannels);
    fork.append({more.data(), 70, kChannels}, {more.data(), 70, kChannels}, pool);
    EXPECT_TRUE(test::same_bits(contents(f.cache), before)) << chunk_size;
    f.cache.append({more.data(), 70, kChannels}, {more.data(), 70, kChannels}, pool);
    EXPECT_TRUE(test::same_bits(contents(f.cache), contents(fork))) << chunk_size;
  }
}

TEST(KvCache, ARowIsCopiedAsItWasAppended) {
  test::Random random;
  const Filled f(random, 12, {40});
  std::vector<float> key(kHeadSize), value(kHeadSize);
  for (const std::size_t row : {0, 11, 12, 39}) {
    f.cache.copy_row(1, row, key.data(), value.data());
    const std::size_t from = row * kChannels + kHeadSize;
    EXPECT_TRUE(std::equal(key.begin(), key.end(), f.k.begin() + from));
    EXPECT_TRUE(std::equal(value.begin(), value.end(), f.v.begin() + from));
  }
}

}  // namespace
}  // namespace longreach::model
