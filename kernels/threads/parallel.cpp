#include "kernels/threads/parallel.hpp"

#include "kernels/base/error.hpp"

#include <system_error>

namespace longreach::kernels {
namespace {

/// Some microseconds: longer than the gap between two jobs of a token, far shorter than a time
/// slice, so that a shared core is given up instead of burnt.
constexpr int kSpins = 4000;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(std::size_t n_threads, const ThreadStart& started) : shares_(n_threads) {
  LR_CHECK(n_threads >= 1);
  try {
    threads_.reserve(n_threads - 1);
    for (std::size_t worker = 1; worker < n_threads; ++worker) {
      threads_.emplace_back([this, worker, started] {
        if (started) started(worker);
        wait_for_jobs(worker);
      });
    }
  } catch (const std::system_error& error) {
    const std::size_t n_started = threads_.size() + 1;
    stop();
    base::input_error("--threads: of {} threads the system lets {} start: {}", n_threads, n_started,
                      error.code().message());
  } catch (...) {
    stop();
    throw;
  }
  if (started) started(0);  // after the others, which begin with what the caller is bound to
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  n_jobs_.fetch_add(1, std::memory_order_release);
  n_jobs_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadPool::run(Job job, void* context, std::size_t count) {
  LR_DCHECK(count >> 32 == 0);
  job_ = job;
  context_ = context;
  n_done_.store(0, std::memory_order_relaxed);
  for (std::size_t worker = 0; worker < size(); ++worker) {
    const std::uint64_t begin = count * worker / size(), end = count * (worker + 1) / size();
    shares_[worker].rest.store(end << 32 | begin, std::memory_order_release);
  }
  n_jobs_.fetch_add(1, std::memory_order_release);
  n_jobs_.notify_all();
  work(0);
  for (int spins = 0; n_done_.load(std::memory_order_acquire) != count; ++spins) {
    if (spins < kSpins) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(std::size_t worker) {
  std::size_t n_done = 0;
  for (std::size_t i = 0; i < size(); ++i) {
    std::atomic<std::uint64_t>& rest = shares_[(worker + i) % size()].rest;
    std::uint64_t seen = rest.load(std::memory_order_acquire);
    while ((seen & 0xffffffffU) < seen >> 32) {
      // Who takes an index sees the job it belongs to, which cannot end before the index is done.
      if (!rest.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
        continue;
      job_(context_, seen & 0xffffffffU, worker);
      ++n_done;
      seen = rest.load(std::memory_order_acquire);
    }
  }
  if (n_done != 0) n_done_.fetch_add(n_done, std::memory_order_release);
}

void ThreadPool::wait_for_jobs(std::size_t worker) {
  for (unsigned seen = 0;;) {
    for (int spins = 0; spins < kSpins && n_jobs_.load(std::memory_order_acquire) == seen;
         ++spins) {
      pause_briefly();
    }
    n_jobs_.wait(seen, std::memory_order_acquire);
    seen = n_jobs_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    work(worker);
  }
}

}  // namespace longreach::kernels
