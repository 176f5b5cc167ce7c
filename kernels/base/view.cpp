#include "kernels/base/view.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace longreach::base {

namespace {

/// Smaller pieces come from the heap: the system limits how many mappings a process may have.
constexpr std::size_t kMappedBytes = std::size_t{1} << 20;
constexpr std::size_t kAlignment = 64;

}  // namespace

void FreeMemory::operator()(void* memory) const noexcept {
  if (bytes < kMappedBytes) {
    std::free(memory);
  } else {
    ::munmap(memory, bytes);
  }
}

void* allocate_zeroed(std::size_t bytes, Pages pages) {
  if (bytes == 0) return nullptr;
  if (bytes < kMappedBytes) {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = std::aligned_alloc(kAlignment, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    return std::memset(memory, 0, rounded);
  }
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Without large pages everything still works, so the answer is not looked at.
  if (pages == Pages::kLarge) ::madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

}  // namespace longreach::base
