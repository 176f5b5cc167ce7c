#include "kernels/base/view.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

namespace longreach::base {

namespace {

/// Smaller pieces come from the heap: the system limits how many mappings a process may have.
constexpr std::size_t kMappedBytes = std::size_t{1} << 20;
constexpr std::size_t kAlignment = 64;

constexpr std::size_t kLargePage = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

void* map(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

/// Mappings in large pages, each cut into pieces from its beginning on and unmapped with its last
/// piece: a matrix smaller than a page, or not a multiple of it, wastes nothing. What was given
/// back serves for pieces of the same size until then.
class LargePages {
 public:
  void* allocate(std::size_t bytes) {
    const std::size_t size = round_up(bytes, kAlignment);
    const std::lock_guard lock(mutex_);
    for (Region& region : regions_) {
      const auto found = std::ranges::find(region.free, size, &Free::size);
      if (found == region.free.end()) continue;
      void* const piece = found->piece;
      region.free.erase(found);
      ++region.n_pieces;
      return std::memset(piece, 0, size);
    }
    if (regions_.empty() || regions_.back().size - regions_.back().used < size) add_region(size);
    Region& region = regions_.back();
    void* piece = region.begin + region.used;
    region.used += size;
    ++region.n_pieces;
    // Giving back must not fail.
    if (region.free.capacity() < region.n_pieces) region.free.reserve(2 * region.n_pieces);
    return piece;
  }

  void free(void* piece, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    const auto region = std::find_if(regions_.begin(), regions_.end(), [&](const Region& r) {
      return piece >= r.begin && piece < r.begin + r.size;
    });
    if (--region->n_pieces != 0) {
      region->free.push_back({piece, round_up(bytes, kAlignment)});
      return;
    }
    ::munmap(region->begin, region->size);
    regions_.erase(region);
  }

 private:
  struct Free {
    void* piece;
    std::size_t size;
  };
  struct Region {
    std::byte* begin;
    std::size_t size, used, n_pieces;
    std::vector<Free> free;
  };

  void add_region(std::size_t bytes) {
    constexpr std::size_t kRegion = 32 * kLargePage;
    // The system gives whole large pages only where they are aligned.
    const std::size_t size = round_up(std::max(bytes, kRegion), kLargePage);
    auto* const mapped = static_cast<std::byte*>(map(size + kLargePage));
    const std::size_t before = -reinterpret_cast<std::uintptr_t>(mapped) % kLargePage;
    if (before != 0) ::munmap(mapped, before);
    if (before != kLargePage) ::munmap(mapped + before + size, kLargePage - before);
    // Without large pages everything still works, so the answer is not looked at.
    ::madvise(mapped + before, size, MADV_HUGEPAGE);
    regions_.push_back({mapped + before, size, 0, 0, {}});
  }

  std::mutex mutex_;
  std::vector<Region> regions_;
};

/// One for the process, like the heap; never destroyed, as memory may be given back at its end.
LargePages& large_pages() {
  static LargePages& pages = *new LargePages;
  return pages;
}

}  // namespace

void FreeMemory::operator()(void* memory) const noexcept {
  if (pages == Pages::kLarge) {
    large_pages().free(memory, bytes);
  } else if (bytes < kMappedBytes) {
    std::free(memory);
  } else {
    ::munmap(memory, bytes);
  }
}

void* allocate_zeroed(std::size_t bytes, Pages pages) {
  if (bytes == 0) return nullptr;
  if (pages == Pages::kLarge) return large_pages().allocate(bytes);
  if (bytes >= kMappedBytes) return map(bytes);
  const std::size_t rounded = round_up(bytes, kAlignment);
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return std::memset(memory, 0, rounded);
}

}  // namespace longreach::base
