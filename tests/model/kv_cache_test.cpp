#include "model/cache/kv_cache.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/kv_formats.hpp"
#include "tests/support/random.hpp"
#include "tests/support/temp_folder.hpp"

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

  Filled(test::Random& random, base::KvFormat format, std::size_t chunk_size,
         std::initializer_list<std::size_t> calls, std::size_t n_threads = 2)
      : cache(kHeads, chunk_size, format, exchange) {
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

  /// What becomes of a row when it is kept by itself: key, then value.
  std::vector<float> kept(std::size_t row, std::size_t head) const {
    const std::size_t from = row * kChannels + head * kHeadSize;
    const kernels::HeadLayout layout(cache.format(), 1);
    std::vector<std::byte> memory(layout.size_bytes());
    std::vector<float> both(2 * kHeadSize);
    layout.put(memory.data(), 0, std::span(k).subspan(from, kHeadSize),
               std::span(v).subspan(from, kHeadSize));
    kernels::read_row(layout.rows(memory.data()), 0, std::span(both).first(kHeadSize),
                      std::span(both).last(kHeadSize));
    return both;
  }
};

/// A row of the cache: key, then value.
std::vector<float> row_of(const KvCache& cache, std::size_t row, std::size_t head) {
  std::vector<float> both(2 * kHeadSize);
  kernels::read_row(cache.rows(cache.chunk_of_row(row), head), row % cache.chunk_size(),
                    std::span(both).first(kHeadSize), std::span(both).last(kHeadSize));
  return both;
}

void score_all_rows(const KvCache& cache, std::size_t head, std::span<const float> q,
                    std::span<float> scores) {
  for (std::size_t first = 0; first < scores.size(); first += cache.chunk_size()) {
    const std::size_t n = std::min(cache.chunk_size(), scores.size() - first);
    kernels::score_keys({q.data(), 1, kHeadSize}, cache.rows(cache.chunk_of_row(first), head),
                        {scores.data() + first, 1, n});
  }
}

/// scores[i] = score of q with closed chunk i.
void score_chunks(const KvCache& cache, std::size_t head, std::span<const float> q,
                  std::span<float> scores) {
  for (std::size_t first = 0; first < scores.size(); first += ChunkIndex::kPieceChunks) {
    const std::size_t n = std::min(ChunkIndex::kPieceChunks, scores.size() - first);
    cache.index().score(head, first / ChunkIndex::kPieceChunks, {q.data(), 1, kHeadSize},
                        {scores.data() + first, 1, n});
  }
}

/// Everything the cache answers, as one list of numbers.
std::vector<float> contents(const KvCache& cache) {
  std::vector<float> all;
  for (std::size_t head = 0; head < kHeads; ++head) {
    for (std::size_t row = 0; row < cache.size(); ++row) {
      const auto both = row_of(cache, row, head);
      all.insert(all.end(), both.begin(), both.end());
    }
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      std::vector<float> axis(kHeadSize), rows(cache.size()), means(cache.closed_chunks());
      axis[d] = 1;
      score_all_rows(cache, head, axis, rows);
      score_chunks(cache, head, axis, means);
      all.insert(all.end(), rows.begin(), rows.end());
      all.insert(all.end(), means.begin(), means.end());
    }
  }
  return all;
}

class Cache : public testing::TestWithParam<base::KvFormat> {};
LR_ON_EVERY_KV_FORMAT(Cache);

TEST_P(Cache, GivesBackWhatWasAppendedAsItIsKept) {
  for (const std::size_t chunk_size : {1, 8, 12, 32, 33, 64}) {
    test::Random random;
    const Filled f(random, GetParam(), chunk_size, {50, 1, 1, 48});
    EXPECT_EQ(f.cache.size(), 100U);
    EXPECT_EQ(f.cache.closed_chunks(), 100 / chunk_size);
    for (std::size_t head = 0; head < kHeads; ++head) {
      std::vector<float> axis(kHeadSize), keys(100);
      axis[5] = 1;
      score_all_rows(f.cache, head, axis, keys);
      for (std::size_t row = 0; row < 100; ++row) {
        const auto want = f.kept(row, head);
        EXPECT_TRUE(test::same_bits(row_of(f.cache, row, head), want)) << row;
        EXPECT_EQ(keys[row], want[5]);
      }
    }
  }
}

TEST_P(Cache, MeansAreSumsOfKeptKeysInRowOrder) {
  test::Random random;
  const Filled f(random, GetParam(), 12, {100});
  std::vector<float> axis(kHeadSize), means(8);
  axis[7] = 1;
  score_chunks(f.cache, 1, axis, means);
  for (std::size_t chunk = 0; chunk < 8; ++chunk) {
    float sum = 0;
    for (std::size_t row = 0; row < 12; ++row) sum += f.kept(chunk * 12 + row, 1)[7];
    EXPECT_EQ(means[chunk], sum / 12);
  }
}

TEST_P(Cache, SplitsAndThreadsChangeNoBit) {
  test::Random a, b, c;
  const Filled whole(a, GetParam(), 12, {100}, 1), parts(b, GetParam(), 12, {1, 30, 1, 1, 67}, 2);
  EXPECT_TRUE(test::same_bits(contents(parts.cache), contents(whole.cache)));
}

TEST_P(Cache, AForkIsTheSameAndGoesItsOwnWay) {
  for (const std::size_t chunk_size : {1, 8, 12, 64}) {
    test::Random random;
    Filled f(random, GetParam(), chunk_size, {40});
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

/// One of several shards, which exchanges nothing and counts what is published.
class CountingExchange final : public Exchange, public ChunkStore {
 public:
  explicit CountingExchange(partition::Shard shard) : shard_(shard) {}
  partition::Shard shard() const override { return shard_; }
  void all_gather(Traffic, std::span<std::byte>, std::span<const partition::Range>) override {}
  void all_to_all(Traffic, std::span<const std::byte>, std::span<const partition::Range>,
                  std::span<std::byte>, std::span<const partition::Range>) override {}
  void barrier() override {}
  ChunkStore& chunk_store() override { return *this; }
  void publish(const Chunk& chunk) override { published.push_back(chunk.id); }
  bool reaches_all() const override { return false; }

  std::vector<std::uint64_t> published;

 private:
  std::shared_ptr<std::byte> memory_for(std::size_t owner, std::size_t n_bytes) override {
    if (owner != shard_.index) return nullptr;
    return {new std::byte[n_bytes](), std::default_delete<std::byte[]>()};
  }

  partition::Shard shard_;
};

TEST(KvCacheTest, PublishesEachClosedChunkOnceByItsOwner) {
  constexpr std::size_t kChunk = 4;
  const std::vector<float> rows(20 * kChannels);
  kernels::ThreadPool pool(1);
  std::vector<std::uint64_t> all;
  for (std::size_t s = 0; s < 3; ++s) {
    CountingExchange exchange({s, 3});
    KvCache cache(kHeads, kChunk, base::KvFormat::kF32, exchange);
    for (const std::size_t n : {3U, 1U, 13U, 6U}) {  // 23 rows: 5 closed chunks and 3 rows
      cache.append({rows.data(), n, kChannels}, {rows.data(), n, kChannels}, pool);
    }
    std::vector<std::uint64_t> own;
    for (std::size_t chunk = 0; chunk < 5; ++chunk) {
      if (cache.owner_of_row(chunk * kChunk) == s)
        own.push_back(cache.chunk_id(GlobalChunk(chunk)));
    }
    EXPECT_EQ(exchange.published, own) << "shard " << s;
    all.insert(all.end(), own.begin(), own.end());
  }
  EXPECT_EQ(all.size(), 5U);
}

TEST_P(Cache, IsRestoredFromItsChunksAndEntries) {
  test::Random random(5);
  const test::TempFolder folder;
  for (const std::size_t n : {1U, 31U, 32U, 33U, 96U, 107U}) {
    constexpr std::size_t kChunk = 32;
    Filled f(random, GetParam(), kChunk, {n});
    const auto in_file = [&](GlobalChunk chunk) {
      const auto memory = f.cache.chunk_memory(chunk);
      const auto path =
          folder.write(fmt::format("{}.{}", n, number_of(chunk)),
                       {reinterpret_cast<const char*>(memory.get()), f.cache.chunk_bytes()});
      const auto file = std::make_shared<MappedFile>(path);
      const std::size_t first_row = number_of(chunk) * kChunk;
      return std::make_shared<MappedChunk>(file, file->bytes(), std::vector<std::uint32_t>(kHeads),
                                           path.string(),
                                           partition::Range{first_row, first_row + kChunk});
    };
    KvCache restored(kHeads, kChunk, GetParam(), f.exchange);
    restored.restore(n, in_file);
    for (std::size_t c = 0; c < n / kChunk; ++c) {
      std::vector<std::byte> entry(f.cache.index().bytes_per_chunk());
      f.cache.index().save(LocalChunk(c), entry);
      restored.restored_index().load(LocalChunk(c), entry);
    }
    std::ranges::copy(f.cache.open_memory(), restored.open_memory().begin());
    EXPECT_EQ(restored.open_memory().empty(), n % kChunk == 0);
    EXPECT_TRUE(test::same_bits(contents(restored), contents(f.cache))) << n;
    f.cache.move_to_files({0, n / kChunk}, in_file);
    const std::vector<float> more = random.normal(70 * kChannels);
    kernels::ThreadPool pool(1);
    for (KvCache* const cache : {&restored, &f.cache}) {
      cache->append({more.data(), 70, kChannels}, {more.data(), 70, kChannels}, pool);
    }
    EXPECT_TRUE(test::same_bits(contents(restored), contents(f.cache))) << n;
  }
}

}  // namespace
}  // namespace longreach::model
