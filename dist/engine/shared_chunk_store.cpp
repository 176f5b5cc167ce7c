#include "dist/engine/shared_chunk_store.hpp"

#include "dist/comm/gather_values.hpp"
#include "kernels/base/descriptor.hpp"
#include "kernels/base/error.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <new>
#include <queue>
#include <random>
#include <utility>
#include <vector>

namespace longreach::dist {
namespace {

using model::kPageBytes;

/// Memory is mapped in pieces of about this size.
constexpr std::size_t kPieceBytes = std::size_t{64} << 20;

/// Mapped memory.
class Mapping {
 public:
  Mapping(const base::Descriptor& file, std::size_t offset, std::size_t n_bytes, int protection)
      : memory_(::mmap(nullptr, n_bytes, protection, MAP_SHARED | MAP_NORESERVE, file.number(),
                       static_cast<off_t>(offset))),
        n_bytes_(n_bytes) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
  }
  Mapping(Mapping&& other) noexcept
      : memory_(std::exchange(other.memory_, MAP_FAILED)), n_bytes_(other.n_bytes_) {}
  Mapping& operator=(Mapping&&) = delete;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (memory_ != MAP_FAILED) ::munmap(memory_, n_bytes_);
  }
  std::byte* data() const { return static_cast<std::byte*>(memory_); }

 private:
  void* memory_;
  std::size_t n_bytes_;
};

/// What a shard sends the others so that they find its file. The mark is on its first page.
struct Address {
  int process = 0, descriptor = -1;
  std::array<std::uint64_t, 2> mark = {};
};

/// One shard's file as this shard sees it. Slots begin behind the page of the mark.
class Arena {
 public:
  Arena(base::Descriptor file, bool is_own) : file_(std::move(file)), is_own_(is_own) {}

  std::size_t take(std::size_t slot_bytes) {
    if (!free_.empty()) {
      const std::size_t slot = free_.top();
      free_.pop();
      return slot;
    }
    const std::size_t in_piece = slots_in_piece(slot_bytes);
    if (n_slots_ % in_piece == 0) add_piece(in_piece * slot_bytes);
    return n_slots_++;
  }

  std::byte* at(std::size_t slot, std::size_t slot_bytes) const {
    const std::size_t in_piece = slots_in_piece(slot_bytes);
    return pieces_[slot / in_piece].data() + slot % in_piece * slot_bytes;
  }

  void give_back(std::size_t slot, std::size_t slot_bytes) {
    if (is_own_) {  // the memory goes back to the system, and comes zeroed
      ::fallocate(file_.number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(kPageBytes + slot * slot_bytes),
                  static_cast<off_t>(slot_bytes));
    }
    free_.push(slot);
  }

 private:
  static std::size_t slots_in_piece(std::size_t slot_bytes) {
    return std::max<std::size_t>(1, kPieceBytes / slot_bytes);
  }

  void add_piece(std::size_t n_bytes) {
    const std::size_t offset = kPageBytes + pieces_.size() * n_bytes;
    if (is_own_ && ::ftruncate(file_.number(), static_cast<off_t>(offset + n_bytes)) != 0) {
      throw std::bad_alloc();
    }
    // The others may map what is not there yet: they read no row before its shard says so.
    pieces_.emplace_back(file_, offset, n_bytes, is_own_ ? PROT_READ | PROT_WRITE : PROT_READ);
  }

  base::Descriptor file_;
  bool is_own_;
  std::vector<Mapping> pieces_;
  std::size_t n_slots_ = 0;
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> free_;
};

class MappedChunkStore final : public model::ChunkStore {
 public:
  explicit MappedChunkStore(std::vector<Arena> arenas)
      : mapped_(std::make_shared<Mapped>(std::move(arenas))) {}
  bool reaches_all() const override { return true; }

 private:
  /// What chunks that outlive the store still need.
  struct Mapped {
    explicit Mapped(std::vector<Arena> of_shards) : arenas(std::move(of_shards)) {}
    std::vector<Arena> arenas;
    std::size_t slot_bytes = 0;
  };

  std::shared_ptr<std::byte> memory_for(std::size_t owner, std::size_t n_bytes) override {
    const std::size_t slot_bytes = (n_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    LR_CHECK(mapped_->slot_bytes == 0 || mapped_->slot_bytes == slot_bytes);
    mapped_->slot_bytes = slot_bytes;
    Arena& arena = mapped_->arenas[owner];
    const std::size_t slot = arena.take(slot_bytes);
    return {arena.at(slot, slot_bytes), [mapped = mapped_, owner, slot](std::byte*) {
              mapped->arenas[owner].give_back(slot, mapped->slot_bytes);
            }};
  }

  std::shared_ptr<Mapped> mapped_;
};

/// This shard's file with its mark, or none.
base::Descriptor make_file(Address& address) {
  base::Descriptor file(::memfd_create("longreach-chunks", MFD_CLOEXEC));
  std::random_device random;
  address = {::getpid(), file.number(), {std::uint64_t{random()} << 32 | random(), random()}};
  const bool made =
      file.is_open() && ::ftruncate(file.number(), kPageBytes) == 0 &&
      ::pwrite(file.number(), address.mark.data(), sizeof(address.mark), 0) == sizeof(address.mark);
  return made ? std::move(file) : base::Descriptor(-1);
}

/// Another shard's file. None if what is found there does not bear its mark: numbers of processes
/// mean nothing on another node or in another container.
base::Descriptor open_file(const Address& address) {
  const std::string path = fmt::format("/proc/{}/fd/{}", address.process, address.descriptor);
  base::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<std::uint64_t, 2> mark = {};
  const bool found = file.is_open() &&
                     ::pread(file.number(), mark.data(), sizeof(mark), 0) == sizeof(mark) &&
                     mark == address.mark;
  return found ? std::move(file) : base::Descriptor(-1);
}

}  // namespace

std::unique_ptr<model::ChunkStore> make_shared_chunk_store(Communicator& shards) {
  Address own;
  base::Descriptor own_file = make_file(own);
  const std::vector<Address> addresses = gather_values(shards, own);
  std::vector<Arena> arenas;
  bool in_reach = own_file.is_open();
  for (std::size_t s = 0; s < addresses.size(); ++s) {
    const bool is_own = s == shards.rank();
    base::Descriptor file = is_own ? std::move(own_file) : open_file(addresses[s]);
    in_reach = in_reach && file.is_open();
    arenas.emplace_back(std::move(file), is_own);
  }
  const std::vector<char> all = gather_values(shards, static_cast<char>(in_reach ? 1 : 0));
  if (std::ranges::count(all, 0) > 0) return nullptr;
  return std::make_unique<MappedChunkStore>(std::move(arenas));
}

}  // namespace longreach::dist
