#include "model/checkpoint/mapped_file.hpp"

#include "kernels/base/descriptor.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/regular_file.hpp"
#include "kernels/base/write_all.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;

std::string system_reason() { return std::generic_category().message(errno); }

// munmap and madvise take a pointer to non-const, though neither writes.
void* address_of(std::span<const std::byte> bytes) { return const_cast<std::byte*>(bytes.data()); }

// Should it fail, only speed or memory suffers.
void give_advice(std::span<const std::byte> bytes, int advice) {
  if (!bytes.empty()) ::madvise(address_of(bytes), bytes.size(), advice);
}

/// The files that are mapped, as the handler of SIGBUS needs to know them.
class Mappings {
 public:
  /// Where there are more files, only the sentence is lost.
  static constexpr std::size_t kMost = 4096;

  static Mappings& instance() {
    static Mappings mappings;
    return mappings;
  }

  void add(std::span<const std::byte> bytes, const std::string& path) {
    const std::lock_guard lock(mutex_);
    for (Slot& slot : slots_) {
      if (slot.begin.load() != nullptr) continue;
      slot.n_bytes = bytes.size();
      slot.message = "longreach: " + path + ": was shortened, or cannot be read any more\n";
      slot.begin.store(bytes.data());
      return;
    }
  }

  void remove(std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    for (Slot& slot : slots_) {
      if (slot.begin.load() == bytes.data()) slot.begin.store(nullptr);
    }
  }

 private:
  struct Slot {
    std::atomic<const std::byte*> begin = nullptr;
    std::size_t n_bytes = 0;
    std::string message;
  };

  Mappings() {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, nullptr);
  }

  /// A page of a file that is not there any more. Nothing can go on from here; what is done must be
  /// safe in a handler of signals.
  static void on_bus_error(int signal, siginfo_t* info, void*) {
    const auto* const address = static_cast<const std::byte*>(info->si_addr);
    for (const Slot& slot : instance().slots_) {
      const std::byte* const begin = slot.begin.load();
      if (begin == nullptr || address < begin || address >= begin + slot.n_bytes) continue;
      base::write_message(slot.message);
      ::_exit(2);
    }
    ::signal(signal, SIG_DFL);  // the access is tried again, and ends the process
  }

  std::mutex mutex_;
  std::array<Slot, kMost> slots_;
};

}  // namespace

void advise(std::span<const std::byte> bytes, Expected expected) {
  // The system wants whole pages; of those that others share, none is let go.
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()), end = begin + bytes.size();
  const bool is_inner = expected == Expected::kLater;
  const std::uintptr_t first = (begin + (is_inner ? kPageBytes - 1 : 0)) / kPageBytes * kPageBytes;
  const std::uintptr_t last = (end + (is_inner ? 0 : kPageBytes - 1)) / kPageBytes * kPageBytes;
  if (first >= last) return;
  const int advice = expected == Expected::kSoon  ? MADV_WILLNEED
                     : expected == Expected::kNow ? MADV_POPULATE_READ
                                                  : MADV_DONTNEED;
  give_advice({reinterpret_cast<const std::byte*>(first), last - first}, advice);
}

MappedFile::MappedFile(const std::filesystem::path& path) { map(path, 0, {}); }

MappedFile::MappedFile(const std::filesystem::path& path, std::size_t offset, std::size_t n_bytes) {
  map(path, offset, n_bytes);
}

void MappedFile::map(const std::filesystem::path& path, std::size_t offset,
                     std::optional<std::size_t> n_bytes) {
  const base::Descriptor file = base::open_regular_file(path, O_RDONLY);
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) {
    input_error("{}: cannot be examined: {}", path.string(), system_reason());
  }
  if (status.st_size == 0) input_error("{}: the file is empty", path.string());
  const auto file_size = static_cast<std::size_t>(status.st_size);
  const std::size_t size = n_bytes.value_or(file_size);
  if (offset + size > file_size) {
    input_error("{}: damaged: expected {} bytes or more, found {}", path.string(), offset + size,
                file_size);
  }
  void* address =
      ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    input_error("{}: its {} bytes cannot be mapped: {}", path.string(), size, system_reason());
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
  Mappings::instance().add(bytes_, path.string());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  Mappings::instance().remove(bytes_);
  ::munmap(address_of(bytes_), bytes_.size());
}

void MappedFile::expect(Access access) const {
  give_advice(bytes_, access == Access::kScattered ? MADV_RANDOM : MADV_NORMAL);
}

void MappedFile::release_pages() const { give_advice(bytes_, MADV_DONTNEED); }

}  // namespace longreach::model
