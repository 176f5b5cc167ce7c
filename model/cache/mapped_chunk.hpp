/// Closed chunks whose memory is a file: which of their heads have been compared with their
/// checksums, and which are held in memory.
#pragma once

#include "kernels/threads/parallel.hpp"
#include "model/checkpoint/mapped_file.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longreach::model {

/// A chunk in a file: consecutive heads of equal size. Neither copied nor moved; MappedHeads alone
/// changes what is known of its heads.
class MappedChunk {
 public:
  /// `bytes` are of the file; one checksum (CRC-32) a head. For messages: the file's name, and
  /// which tokens these are. `on_damage` is called before damage is thrown.
  MappedChunk(std::shared_ptr<const MappedFile> file, std::span<const std::byte> bytes,
              std::span<const std::uint32_t> checksums, std::string file_name,
              partition::Range tokens, std::function<void()> on_damage = {});
  MappedChunk(const MappedChunk&) = delete;
  MappedChunk& operator=(const MappedChunk&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<const std::byte> head(std::size_t head) const {
    const std::size_t n_bytes = bytes_.size() / heads_.size();
    return bytes_.subspan(head * n_bytes, n_bytes);
  }
  /// Compares all heads with their checksums. Errors: InputError naming the chunk.
  void verify() const;

 private:
  friend class MappedHeads;

  struct Head {
    std::uint32_t checksum = 0;
    bool is_verified = false;
    bool is_held = false;
    std::uint64_t last_used = 0;  ///< The step of it.
  };

  bool is_whole(std::size_t head) const;
  [[noreturn]] void refuse(std::size_t head) const;

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::vector<Head> heads_;
  std::string file_name_;
  partition::Range tokens_;
  std::function<void()> on_damage_;
};

/// A head that a step is going to read.
struct MappedHead {
  std::shared_ptr<MappedChunk> chunk;
  std::size_t head = 0;
};

/// The heads that are held in memory. Not thread-safe.
class MappedHeads {
 public:
  /// At most about so many bytes are held; a step may need more. Without, the system decides.
  explicit MappedHeads(std::optional<std::size_t> most_bytes = {}) : most_bytes_(most_bytes) {}

  /// Brings what a step reads into memory, and compares with its checksum what is read for the
  /// first time. A head may be listed more than once. Errors: InputError naming the chunk.
  void hold(std::span<const MappedHead> heads, kernels::ThreadPool& pool);

 private:
  struct Held {
    std::weak_ptr<MappedChunk> chunk;
    std::size_t head;
  };

  /// Lets go of what was used longest ago.
  void let_go();

  std::optional<std::size_t> most_bytes_;
  std::vector<Held> held_;
  std::size_t held_bytes_ = 0;  ///< With those of chunks that are gone since the last look.
  std::uint64_t n_steps_ = 0;
};

}  // namespace longreach::model
