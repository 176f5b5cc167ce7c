#include "kernels/threads/read_bandwidth.hpp"

#include "kernels/base/seconds.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/threads/read_bandwidth.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <numeric>

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

std::uint64_t sum_of(std::span<const std::uint64_t> words) {
  const hn::CappedTag<std::uint64_t, 8> d;
  constexpr std::size_t kLanes = hn::MaxLanes(d);
  constexpr std::size_t kSums =
      8;  // more than additions take steps, so that only loads are waited for
  hn::Vec<decltype(d)> sums[kSums];
  for (auto& sum : sums) sum = hn::Zero(d);
  std::size_t i = 0;
  for (; i + kSums * kLanes <= words.size(); i += kSums * kLanes) {
    for (std::size_t s = 0; s < kSums; ++s) {
      sums[s] = hn::Add(sums[s], hn::LoadU(d, words.data() + i + s * kLanes));
    }
  }
  for (std::size_t s = 1; s < kSums; ++s) sums[0] = hn::Add(sums[0], sums[s]);
  // The lanes are added here, as the sum may wrap around, which a compiler's own reduction takes
  // for an overflow of signed numbers.
  std::array<std::uint64_t, kLanes> lanes = {};
  hn::StoreU(sums[0], d, lanes.data());
  std::uint64_t total = std::accumulate(lanes.begin(), lanes.end(), std::uint64_t{0});
  for (; i < words.size(); ++i) total += words[i];
  return total;
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(sum_of);

constexpr std::size_t kRunWords = (std::size_t{2} << 20) / sizeof(std::uint64_t);

/// Calls body(first, n) for runs of words, spread over the threads.
template <typename Body>
void for_runs(ThreadPool& pool, std::size_t n_words, Body&& body) {
  pool.for_each((n_words + kRunWords - 1) / kRunWords, [&](std::size_t run, std::size_t) {
    const std::size_t first = run * kRunWords;
    body(first, std::min(kRunWords, n_words - first));
  });
}

}  // namespace

std::uint64_t read_sum(ThreadPool& pool, std::span<const std::uint64_t> words) noexcept {
  std::atomic<std::uint64_t> total{0};
  for_runs(pool, words.size(), [&](std::size_t first, std::size_t n) {
    total.fetch_add(HWY_DYNAMIC_DISPATCH(sum_of)(words.subspan(first, n)),
                    std::memory_order_relaxed);
  });
  return total;
}

ReadYardstick::ReadYardstick(std::size_t n_bytes, ThreadPool& pool)
    : pool_(pool), words_(n_bytes / sizeof(std::uint64_t), base::Pages::kLarge) {
  for_runs(pool, words_.size(), [&](std::size_t first, std::size_t n) {
    std::fill_n(words_.data() + first, n, first);  // pages that nobody wrote would all be one page
  });
}

double ReadYardstick::read() {
  const auto start = std::chrono::steady_clock::now();
  // Who would leave the reading out must know the sum.
  [[maybe_unused]] const volatile std::uint64_t sum = read_sum(pool_, words_.span());
  return base::seconds_since(start);
}

}  // namespace longreach::kernels
#endif
