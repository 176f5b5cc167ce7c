#include "dist/context/context_part.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "model/checkpoint/mapped_file.hpp"
#include "model/checkpoint/tensor_file.hpp"
#include "model/exchange.hpp"
#include "model/state_layout.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace longreach::dist {
namespace {

using partition::GlobalChunk;

/// Chunks begin on pages, so that they can be mapped.
constexpr std::size_t kPageBytes = 4096;

std::uint32_t checksum(std::span<const std::byte> bytes) { return model::crc32_of(bytes, {}); }

std::span<const std::byte> bytes_of(const std::uint32_t& number) {
  return std::as_bytes(std::span(&number, 1));
}

/// Where the chunks of a block's cache lie, and what is known of each: a checksum of every head,
/// the index entry, and a checksum of both.
struct CacheLayout {
  std::size_t n_head, head_bytes, entry_bytes;

  CacheLayout(const model::KvCache& cache, std::size_t n_heads)
      : n_head(n_heads),
        head_bytes(cache.chunk_bytes() / n_heads),
        entry_bytes(cache.index().bytes_per_chunk()) {}

  std::size_t chunk_bytes() const { return n_head * head_bytes; }
  std::size_t chunk_begin(std::size_t chunk) const {
    return chunk * ((chunk_bytes() + kPageBytes - 1) / kPageBytes * kPageBytes);
  }
  std::size_t checksums_bytes() const { return n_head * sizeof(std::uint32_t); }
  std::size_t record_bytes() const {
    return checksums_bytes() + entry_bytes + sizeof(std::uint32_t);
  }
};

/// What is known of a chunk, as it lies in the file.
class ChunkRecord {
 public:
  explicit ChunkRecord(const CacheLayout& layout)
      : layout_(layout), bytes_(layout.record_bytes()) {}

  std::span<std::byte> all() { return bytes_; }
  std::span<std::byte> entry() {
    return all().subspan(layout_.checksums_bytes(), layout_.entry_bytes);
  }
  std::uint32_t head_checksum(std::size_t head) const {
    std::uint32_t number = 0;
    std::memcpy(&number, bytes_.data() + head * sizeof(number), sizeof(number));
    return number;
  }

  /// Completes it; the entry is in place.
  void seal(std::span<const std::byte> chunk) {
    for (std::size_t head = 0; head < layout_.n_head; ++head) {
      const std::uint32_t sum =
          checksum(chunk.subspan(head * layout_.head_bytes, layout_.head_bytes));
      std::ranges::copy(bytes_of(sum),
                        bytes_.begin() + static_cast<std::ptrdiff_t>(head * sizeof(sum)));
    }
    const std::uint32_t sum = checksum(sealed());
    std::ranges::copy(bytes_of(sum), all().last(sizeof(sum)).begin());
  }

  bool is_whole() {
    const std::uint32_t sum = checksum(sealed());
    return std::ranges::equal(bytes_of(sum), all().last(sizeof(sum)));
  }

 private:
  std::span<const std::byte> sealed() { return all().first(bytes_.size() - sizeof(std::uint32_t)); }

  const CacheLayout& layout_;
  std::vector<std::byte> bytes_;
};

ChunkRecord read_record(const File& file, const std::filesystem::path& path,
                        const CacheLayout& layout, std::size_t chunk) {
  ChunkRecord record(layout);
  file.read_at(chunk * layout.record_bytes(), record.all());
  if (!record.is_whole()) {
    base::input_error("{}: damaged: what is known of chunk {} does not match its checksum",
                      base::utf8_name(path.string()), chunk);
  }
  return record;
}

std::filesystem::path cache_path(const std::filesystem::path& directory, const std::string& block) {
  return directory / "cache" / block;
}

std::filesystem::path index_path(const std::filesystem::path& directory, const std::string& block) {
  return directory / "cache" / (block + ".index");
}

std::filesystem::path state_path(const std::filesystem::path& directory, std::size_t n_tokens) {
  return directory / "states" / std::to_string(n_tokens);
}

/// A file's mapping of chunks, which whoever holds one of them keeps.
class MappedChunks {
 public:
  MappedChunks(const std::filesystem::path& path, const CacheLayout& layout, std::size_t n_chunks)
      : layout_(layout), file_(std::make_shared<model::MappedFile>(path)) {
    const std::size_t n_bytes = layout.chunk_begin(n_chunks - 1) + layout.chunk_bytes();
    if (file_->bytes().size() < n_bytes) {
      base::input_error("{}: damaged: expected {} bytes or more, found {}",
                        base::utf8_name(path.string()), n_bytes, file_->bytes().size());
    }
    file_->expect(model::Access::kScattered);
  }

  /// It is never written, as the chunk is closed.
  std::shared_ptr<std::byte> chunk(std::size_t number) const {
    const std::byte* const begin = file_->bytes().data() + layout_.chunk_begin(number);
    return {file_, const_cast<std::byte*>(begin)};
  }

 private:
  const CacheLayout& layout_;
  std::shared_ptr<model::MappedFile> file_;
};

}  // namespace

ContextPart::ContextPart(std::filesystem::path directory, const model::ModelConfig& config,
                         const model::AttentionConfig& attention, partition::Range stage_blocks,
                         partition::Shard shard)
    : directory_(std::move(directory)),
      config_(config),
      attention_(attention),
      blocks_(stage_blocks),
      shard_(shard) {}

template <typename Visit>
void ContextPart::visit_caches(model::SequenceState& state, Visit&& visit) const {
  const std::vector<model::BlockRef> order = config_.execution_order();
  for (std::size_t i = 0; i < state.blocks.size(); ++i) {
    if (auto* const sparse = std::get_if<model::SparseState>(&state.blocks[i])) {
      visit(order[blocks_.begin + i].name(), sparse->cache);
    }
  }
}

std::size_t ContextPart::closed_chunks(std::size_t n_tokens) const {
  return model::cached_rows(attention_, n_tokens) / attention_.chunk_size;
}

void ContextPart::save(model::SequenceState& state, std::size_t n_tokens) {
  const std::size_t n_chunks = closed_chunks(n_tokens);
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    save_chunks(cache, block, n_chunks);
  });
  n_saved_chunks_ = n_chunks;
  const model::StateLayout layout(config_, attention_, n_tokens);
  const File file(state_path(directory_, n_tokens), File::Mode::kWrite);
  layout.visit_pieces(state, blocks_, shard_, [&](const model::StatePiece& piece) {
    if (!piece.is_owned) return;
    file.write_at(piece.offset, piece.memory);
    const std::uint32_t sum = checksum(piece.memory);
    file.write_at(layout.size_bytes() + piece.number * sizeof(sum), bytes_of(sum));
  });
  file.sync();
}

void ContextPart::save_chunks(model::KvCache& cache, const std::string& block,
                              std::size_t n_chunks) {
  if (n_chunks <= n_saved_chunks_) return;
  const CacheLayout layout(cache, config_.n_head);
  const File chunks(cache_path(directory_, block), File::Mode::kWrite);
  const File records(index_path(directory_, block), File::Mode::kWrite);
  for (std::size_t c = n_saved_chunks_; c < n_chunks; ++c) {
    const auto chunk = GlobalChunk(c);
    if (!cache.keeps(chunk)) continue;
    const std::span<const std::byte> memory = cache.chunk_memory(chunk);
    chunks.write_at(layout.chunk_begin(c), memory);
    ChunkRecord record(layout);
    cache.index().save(partition::local_chunk(chunk, shard_.count), record.entry());
    record.seal(memory);
    records.write_at(c * layout.record_bytes(), record.all());
  }
  chunks.sync();
  records.sync();
}

void ContextPart::restore(model::SequenceState& state, std::size_t n_tokens, bool reaches_all) {
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    restore_cache(cache, block, n_tokens, reaches_all);
  });
  n_saved_chunks_ = closed_chunks(n_tokens);
  const model::StateLayout layout(config_, attention_, n_tokens);
  const std::filesystem::path path = state_path(directory_, n_tokens);
  const File file(path, File::Mode::kRead);
  layout.visit_pieces(state, blocks_, shard_, [&](const model::StatePiece& piece) {
    file.read_at(piece.offset, piece.memory);
    std::uint32_t sum = 0;
    file.read_at(layout.size_bytes() + piece.number * sizeof(sum),
                 std::as_writable_bytes(std::span(&sum, 1)));
    if (checksum(piece.memory) != sum) {
      base::input_error("{}: damaged: piece {} does not match its checksum",
                        base::utf8_name(path.string()), piece.number);
    }
  });
}

void ContextPart::restore_cache(model::KvCache& cache, const std::string& block,
                                std::size_t n_tokens, bool reaches_all) {
  const CacheLayout layout(cache, config_.n_head);
  const std::size_t n_chunks = closed_chunks(n_tokens);
  std::optional<MappedChunks> mapped;
  if (n_chunks > 0) mapped.emplace(cache_path(directory_, block), layout, n_chunks);
  cache.restore(model::cached_rows(attention_, n_tokens), [&](GlobalChunk chunk) {
    const bool is_read_here = reaches_all || cache.keeps(chunk);
    return is_read_here ? mapped->chunk(number_of(chunk)) : nullptr;
  });
  if (n_chunks == 0) return;
  const std::filesystem::path path = index_path(directory_, block);
  const File records(path, File::Mode::kRead);
  for (std::size_t c = 0; c < n_chunks; ++c) {
    const auto chunk = GlobalChunk(c);
    if (!cache.keeps(chunk)) continue;
    ChunkRecord record = read_record(records, path, layout, c);
    cache.restored_index().load(partition::local_chunk(chunk, shard_.count), record.entry());
  }
}

void ContextPart::verify_state(std::size_t n_tokens) {
  model::NoExchange exchange;
  model::SequenceState state(config_, attention_, blocks_, exchange);
  restore(state, n_tokens, true);
}

void ContextPart::verify_chunks(std::size_t n_tokens) {
  model::NoExchange exchange;
  model::SequenceState state(config_, attention_, blocks_, exchange);
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    restore_cache(cache, block, n_tokens, true);
    const CacheLayout layout(cache, config_.n_head);
    if (cache.closed_chunks() == 0) return;
    const std::filesystem::path path = index_path(directory_, block);
    const File records(path, File::Mode::kRead);
    for (std::size_t c = 0; c < cache.closed_chunks(); ++c) {
      const ChunkRecord record = read_record(records, path, layout, c);
      const auto memory = cache.chunk_memory(GlobalChunk(c));
      for (std::size_t head = 0; head < layout.n_head; ++head) {
        const auto bytes = memory.subspan(head * layout.head_bytes, layout.head_bytes);
        if (checksum(bytes) == record.head_checksum(head)) continue;
        base::input_error("{}: damaged: head {} of tokens {} to {} does not match its checksum",
                          base::utf8_name(cache_path(directory_, block).string()), head,
                          c * attention_.chunk_size, (c + 1) * attention_.chunk_size - 1);
      }
    }
  });
}

}  // namespace longreach::dist
