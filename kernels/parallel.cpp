#include "kernels/parallel.hpp"

#include "kernels/base/error.hpp"

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

ThreadPool::ThreadPool(std::size_t n_threads) {
  LR_CHECK(n_threads >= 1);
  for (std::size_t worker = 1; worker < n_threads; ++worker) {
    threads_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadPool::run(Job job, void* context) {
  job_ = job;
  context_ = context;
  busy_.store(threads_.size(), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  job(context, 0);
  for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(std::size_t worker) {
  unsigned seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpins && round_.load(std::memory_order_acquire) == seen; ++spins) {
      pause_briefly();
    }
    round_.wait(seen, std::memory_order_acquire);
    ++seen;  // a new job starts only when all workers have finished the one before
    if (stopping_.load(std::memory_order_relaxed)) return;
    job_(context_, worker);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace longreach::kernels
