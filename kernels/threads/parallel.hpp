/// The one place where threads are made. Each index of a job is computed by exactly one thread and
/// alone decides what is computed, so threads never decide an order of additions.
#pragma once

#include "kernels/base/view.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <type_traits>
#include <vector>

namespace longreach::kernels {

/// Called on a new thread with its worker number.
using ThreadStart = std::function<void(std::size_t worker)>;

/// A fixed number of threads, the caller being the first of them. Neither copied nor moved.
class ThreadPool {
 public:
  /// `started` is called once on each thread with its worker number, the caller's being 0: the
  /// place to bind threads to cores. It must not throw. Requires: n_threads >= 1.
  /// Errors: InputError, if the system refuses threads; std::bad_alloc.
  explicit ThreadPool(std::size_t n_threads, const ThreadStart& started = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Threads, the caller included.
  std::size_t size() const { return shares_.size(); }

  /// Calls body(index, worker) once for every index < count, worker < size(); returns when all are
  /// done. Every worker starts with its own contiguous share of the indices, then helps with what
  /// others have not begun: a thread that the system does not let run holds nobody up. A worker
  /// never runs two bodies at a time, so `worker` may index scratch memory. The body must not throw
  /// nor call the pool. Requires: count < 2^32.
  template <typename Body>
  void for_each(std::size_t count, Body&& body) {
    if (count <= 1 || threads_.empty()) {  // not worth waking anyone
      for (std::size_t i = 0; i < count; ++i) body(i, std::size_t{0});
      return;
    }
    using Type = std::remove_reference_t<Body>;
    run([](void* context, std::size_t index,
           std::size_t worker) { (*static_cast<Type*>(context))(index, worker); },
        const_cast<void*>(static_cast<const void*>(&body)), count);
  }

  /// Jobs so far whose indices were divided between the threads: each ends with the caller waiting
  /// for all of them.
  std::size_t n_jobs() const { return n_jobs_.load(std::memory_order_relaxed); }

  /// Memory for the steps of one job, aligned to 64 bytes, which stays until the next call.
  /// Its content is not defined. Errors: std::bad_alloc.
  std::byte* scratch(std::size_t bytes) {
    if (bytes > scratch_.size()) scratch_ = base::Buffer<std::byte>(bytes);
    return scratch_.data();
  }

 private:
  using Job = void (*)(void* context, std::size_t index, std::size_t worker);

  /// Indices of a share that nobody has begun: the next one in the lower half, the end in the
  /// upper.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> rest{0};
  };

  void stop();
  void run(Job job, void* context, std::size_t count);
  void wait_for_jobs(std::size_t worker);
  /// Computes indices until none is left to begin.
  void work(std::size_t worker);

  std::vector<Share> shares_;  ///< One per worker.
  std::vector<std::thread> threads_;
  base::Buffer<std::byte> scratch_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  // Each in a line of its own: waiting workers read one while busy ones write the other.
  alignas(64) std::atomic<std::size_t> n_done_{0};  ///< Indices of the current job.
  alignas(64) std::atomic<unsigned> n_jobs_{0};     ///< A change wakes the workers.
  std::atomic<bool> stopping_{false};
};

}  // namespace longreach::kernels
