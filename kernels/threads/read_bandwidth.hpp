/// Reading memory and nothing else: the yardstick of all that is bound by it.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/threads/parallel.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace longreach::kernels {

/// The sum of all words modulo 2^64, which cannot be known without reading each of them. Threads
/// read runs of 2 MiB, with the widest vectors of the path in use.
std::uint64_t read_sum(ThreadPool& pool, std::span<const std::uint64_t> words) noexcept;

/// Memory that is there to be read, in large pages and placed by the threads that read it.
class ReadYardstick {
 public:
  /// Errors: std::bad_alloc.
  ReadYardstick(std::size_t n_bytes, ThreadPool& pool);

  std::size_t size_bytes() const { return words_.size() * sizeof(std::uint64_t); }
  /// Reads all of it once. Returns the seconds it took.
  double read();

 private:
  ThreadPool& pool_;
  base::Buffer<std::uint64_t> words_;
};

}  // namespace longreach::kernels
