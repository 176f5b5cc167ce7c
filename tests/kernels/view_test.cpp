#include "kernels/base/view.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

namespace longreach::base {
namespace {

/// Sizes around a cache line, a page, a large page and a region of them.
const std::vector<std::size_t> kSizes = {
    1, 63, 64, 65, 4097, 1 << 20, 2 << 20, (2 << 20) + 1, std::size_t{65} << 20};

TEST(MatView, CopiesOfRowsLeaveWhatLiesBetweenThem) {
  const std::vector<int> from{1, 2, 3, 4, 5, 6};
  std::vector<int> to(12);
  copy_rows(MatView<const int>(from.data(), 3, 2), MatView<int>(to.data(), 3, 4).cols(1, 2));
  EXPECT_EQ(to, (std::vector<int>{0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0}));
  std::vector<int> back(6);
  copy_rows(MatView<int>(to.data(), 3, 4).cols(1, 2), MatView<int>(back.data(), 3, 2));
  EXPECT_EQ(back, from);
}

TEST(Buffer, IsZeroedAlignedAndItsOwn) {
  for (const Pages pages : {Pages::kSmall, Pages::kLarge}) {
    std::vector<Buffer<std::uint8_t>> buffers;
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (const std::size_t size : kSizes) {
        Buffer<std::uint8_t>& buffer = buffers.emplace_back(size, pages);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
        EXPECT_EQ(std::count(buffer.span().begin(), buffer.span().end(), 0), std::ptrdiff_t(size));
        std::fill(buffer.span().begin(), buffer.span().end(),
                  static_cast<std::uint8_t>(buffers.size()));
      }
    }
    // Giving back every second one leaves the others as they are.
    for (std::size_t i = 0; i < buffers.size(); i += 2) buffers[i] = {};
    for (std::size_t i = 1; i < buffers.size(); i += 2) {
      const auto span = buffers[i].span();
      EXPECT_EQ(std::count(span.begin(), span.end(), i + 1), std::ptrdiff_t(span.size()));
    }
  }
}

TEST(Buffer, MemoryGivenBackIsZeroedAgain) {
  for (int repeat = 0; repeat < 3; ++repeat) {
    Buffer<std::uint8_t> buffer(100'000, Pages::kLarge);
    EXPECT_EQ(std::count(buffer.span().begin(), buffer.span().end(), 0), 100'000);
    std::fill(buffer.span().begin(), buffer.span().end(), std::uint8_t{1});
  }
}

TEST(Buffer, MemoryGivenBackServesAgainWhileANeighbourIsHeld) {
  constexpr std::size_t kSize = std::size_t{3} << 20;
  Buffer<std::uint8_t> first(kSize, Pages::kLarge);
  const Buffer<std::uint8_t> neighbour(1000, Pages::kLarge);
  const std::uint8_t* const place = first.data();
  for (int repeat = 0; repeat < 3; ++repeat) {
    std::fill(first.span().begin(), first.span().end(), std::uint8_t{1});
    first = {};
    first = Buffer<std::uint8_t>(kSize, Pages::kLarge);
    EXPECT_EQ(first.data(), place);
    EXPECT_EQ(std::count(first.span().begin(), first.span().end(), 0), std::ptrdiff_t{kSize});
  }
}

TEST(Buffer, ThreadsMayTakeAndGiveBack) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([] {
      std::vector<Buffer<std::uint8_t>> kept(5);
      for (std::size_t i = 0; i < 200; ++i) {
        kept[i % kept.size()] = Buffer<std::uint8_t>(1000 * (i % 7 + 1), Pages::kLarge);
        kept[i % kept.size()][999] = 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace longreach::base
