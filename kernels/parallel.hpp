/// The one place where threads are made. Work is split statically, so that the split never decides
/// an order of additions: each index is computed by exactly one thread, whichever that is.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <type_traits>
#include <vector>

namespace longreach::kernels {

/// A fixed number of threads, the caller being the first of them. Neither copied nor moved.
class ThreadPool {
 public:
  /// Requires: n_threads >= 1.
  explicit ThreadPool(std::size_t n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Threads, the caller included.
  std::size_t size() const { return threads_.size() + 1; }

  /// Calls body(index, worker) once for every index < count, worker < size(); returns when all are
  /// done. Every worker takes one contiguous range of indices, ascending. A worker never runs two
  /// bodies at a time, so `worker` may index scratch memory. The body must not throw nor call the
  /// pool.
  template <typename Body>
  void for_each(std::size_t count, Body&& body) {
    const std::size_t n_workers = size();
    if (count <= 1 || n_workers == 1) {  // not worth waking anyone
      for (std::size_t i = 0; i < count; ++i) body(i, std::size_t{0});
      return;
    }
    auto run_range = [&](std::size_t worker) {
      for (std::size_t i = count * worker / n_workers; i < count * (worker + 1) / n_workers; ++i) {
        body(i, worker);
      }
    };
    run([](void* context,
           std::size_t worker) { (*static_cast<decltype(run_range)*>(context))(worker); },
        &run_range);
  }

 private:
  using Job = void (*)(void* context, std::size_t worker);

  void run(Job job, void* context);
  void work(std::size_t worker);

  std::vector<std::thread> threads_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  std::atomic<unsigned> round_{0};    ///< Counts jobs; a change wakes the workers.
  std::atomic<std::size_t> busy_{0};  ///< Workers that have not finished the current job.
  std::atomic<bool> stopping_{false};
};

}  // namespace longreach::kernels
