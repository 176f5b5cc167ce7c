#include "kernels/threads/read_bandwidth.hpp"

#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

namespace longreach::kernels {
namespace {

class ReadSum : public test::EveryIsa {};
LR_ON_EVERY_ISA(ReadSum);

TEST_P(ReadSum, CountsEveryWordOnce) {
  test::Random random;
  constexpr std::size_t kRunWords = 1 << 18;
  std::vector<std::uint64_t> words(3 * kRunWords + 77);
  for (std::uint64_t& word : words) word = random.engine() * 0x100000001ULL;
  for (const std::size_t n_threads : {1, 3}) {
    ThreadPool pool(n_threads);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{63},
                                   std::size_t{64}, std::size_t{65}, kRunWords, words.size()}) {
      for (const std::size_t first : {std::size_t{0}, std::min<std::size_t>(size, 3)}) {
        const auto part = std::span(words).subspan(first, size - first);
        std::uint64_t expected = 0;
        for (const std::uint64_t word : part) expected += word;
        EXPECT_EQ(read_sum(pool, part), expected) << size << " from " << first;
      }
    }
  }
}

TEST(ReadYardstick, HasTheSizeItIsToldAndTakesTime) {
  ThreadPool pool(2);
  ReadYardstick yardstick(std::size_t{5} << 20, pool);
  EXPECT_EQ(yardstick.size_bytes(), std::size_t{5} << 20);
  EXPECT_GT(yardstick.read(), 0.0);
}

}  // namespace
}  // namespace longreach::kernels
