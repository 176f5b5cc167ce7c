/// The two files of a sparse block in a context: its closed chunks, and a record of each. format.md
/// describes the bytes.
#pragma once

#include "dist/context/context_folders.hpp"
#include "dist/context/file.hpp"
#include "model/cache/kv_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longreach::dist {

using partition::GlobalChunk;

/// Sizes in the files, in bytes.
struct ChunkFileLayout {
  std::size_t n_head, head_bytes, entry_bytes, chunk_tokens;

  ChunkFileLayout(const model::KvCache& cache, std::size_t n_heads);
  std::size_t chunk_bytes() const { return n_head * head_bytes; }
  /// Chunks begin on pages, so that they can be mapped.
  std::size_t chunk_begin(std::size_t chunk) const;
  std::size_t checksums_bytes() const { return n_head * sizeof(std::uint32_t); }
  std::size_t record_bytes() const {
    return checksums_bytes() + entry_bytes + sizeof(std::uint32_t);
  }
};

/// What is known of a chunk, as it lies in the file: a checksum of every head, the index entry, and
/// a checksum of both, with a mark of the chunk (mark_of() of context_folders.hpp).
class ChunkRecord {
 public:
  /// Room for one.
  explicit ChunkRecord(const ChunkFileLayout& layout);

  std::span<const std::byte> all() const { return bytes_; }
  std::span<std::byte> all() { return bytes_; }
  std::span<std::byte> entry();
  std::vector<std::uint32_t> head_checksums() const;

  /// Completes it; the entry is in place.
  void seal(std::span<const std::byte> chunk, std::uint32_t mark);
  /// Whether it is as it was sealed with that mark.
  bool is_whole(std::uint32_t mark) const;

 private:
  std::span<const std::byte> sealed() const {
    return all().first(bytes_.size() - sizeof(std::uint32_t));
  }

  std::size_t n_head_, entry_bytes_;
  std::vector<std::byte> bytes_;
};

/// The files of one block. Move-only. Errors of all calls: InputError naming the file.
class ChunkFile {
 public:
  /// Opens nothing.
  ChunkFile(const ContextFolder& folder, const std::string& block, const ChunkFileLayout& layout);

  const ChunkFileLayout& layout() const { return layout_; }

  // To write. Other ranks write other chunks.
  /// Seals the record, too.
  void write(GlobalChunk chunk, std::span<const std::byte> memory, ChunkRecord& record);
  /// Returns when what was written is on the disk.
  void sync();

  // To read what is complete.
  /// Maps some chunks; nothing of them is read.
  void map(partition::Range chunks);
  ChunkRecord record(GlobalChunk chunk);
  /// One of those that were mapped last, as its record describes it.
  std::shared_ptr<model::MappedChunk> mapped(GlobalChunk chunk, const ChunkRecord& record) const;

 private:
  void open(File::Mode mode);
  std::uint32_t mark(GlobalChunk chunk) const {
    return mark_of(context_id_, block_, number_of(chunk));
  }

  ChunkFileLayout layout_;
  std::string context_id_, block_;
  std::filesystem::path chunks_path_, records_path_;
  std::optional<File> chunks_, records_;
  std::size_t first_mapped_ = 0;
  std::shared_ptr<const model::MappedFile> mapping_;
};

}  // namespace longreach::dist
