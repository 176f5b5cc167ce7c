#include "dist/context/context_part.hpp"

#include "dist/context/chunk_file.hpp"
#include "kernels/base/json.hpp"
#include "model/checkpoint/tensor_file.hpp"
#include "model/exchange.hpp"
#include "model/state_layout.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace longreach::dist {
namespace {

std::uint32_t checksum_of_piece(const ContextFolder& folder, std::size_t n_tokens,
                                std::size_t number, std::span<const std::byte> bytes) {
  return model::crc32_of(bytes) ^ mark_of(folder.id, std::to_string(n_tokens), number);
}

/// Chunks of a block that closed since the last state.
struct ClosedChunks {
  struct Closed {
    GlobalChunk number;
    std::shared_ptr<const std::byte> memory;
    ChunkRecord record;  ///< Not sealed yet.
  };

  ChunkFile file;
  std::vector<Closed> chunks;

  void write() {
    for (Closed& chunk : chunks) {
      const std::span memory(chunk.memory.get(), file.layout().chunk_bytes());
      file.write(chunk.number, memory, chunk.record);
    }
    file.sync();
  }
};

/// The leader has made them where it runs; other hosts may have a folder of their own.
void make_folders(const std::filesystem::path& context) {
  for (const char* const part : {"cache", "states"}) {
    std::error_code error;
    std::filesystem::create_directories(context / part, error);
    if (error) {
      base::input_error("{}: {}", base::utf8_name((context / part).string()), error.message());
    }
  }
}

}  // namespace

/// Pieces of a state, copied, as they go to its file.
struct ContextPart::StateCopy {
  struct Piece {
    std::size_t number, offset;
    std::vector<std::byte> bytes;
  };

  ContextFolder folder;
  std::size_t n_tokens = 0, checksums_begin = 0;
  std::vector<Piece> pieces;

  void write() const {
    const File file(state_path(folder, n_tokens), File::Mode::kWrite);
    for (const Piece& piece : pieces) {
      file.write_at(piece.offset, piece.bytes);
      const std::uint32_t sum = checksum_of_piece(folder, n_tokens, piece.number, piece.bytes);
      file.write_at(checksums_begin + piece.number * sizeof(sum),
                    std::as_bytes(std::span(&sum, 1)));
    }
    file.sync();
  }
};

ContextPart::ContextPart(ContextFolders folders, const model::ModelConfig& config,
                         const model::AttentionConfig& attention, partition::Range stage_blocks,
                         partition::Shard shard)
    : folders_(std::move(folders)),
      config_(config),
      attention_(attention),
      blocks_(stage_blocks),
      shard_(shard),
      // What comes before the context's own folder is never written again.
      n_begun_(closed_chunks(folders_.back().n_before)),
      n_moved_(n_begun_) {}

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

/// What is written beside the computing.
struct ContextPart::Writing {
  std::optional<std::filesystem::path> new_folder = {};
  std::vector<ClosedChunks> closed = {};
  StateCopy state = {};
  std::future<void> done = {};

  void begin() {
    done = std::async(std::launch::async, [this] {
      if (new_folder) make_folders(*new_folder);
      for (ClosedChunks& of_block : closed) of_block.write();
      state.write();
    });
  }
};

ContextPart::~ContextPart() = default;

void ContextPart::save(model::SequenceState& state, std::size_t n_tokens, std::size_t n_written,
                       bool reaches_all,
                       const std::function<std::string(const std::string&)>& first_error) {
  const std::size_t n_moved = std::max(n_moved_, closed_chunks(n_written));
  std::string failure;
  std::vector<MappedChunks> written;
  try {
    finish();
    written = map_written(state, n_moved, reaches_all);
  } catch (const base::InputError& error) {
    failure = error.what();
  }
  failure = first_error(failure);
  if (!failure.empty()) throw SaveError(failure);
  auto of_cache = written.begin();
  visit_caches(state, [&](const std::string&, model::KvCache& cache) {
    MappedChunks& chunks = *of_cache++;
    cache.move_to_files({n_moved_, n_moved}, [&](GlobalChunk chunk) {
      return std::move(chunks[partition::number_of(chunk) - n_moved_]);
    });
  });
  n_moved_ = n_moved;
  writing_ = std::make_unique<Writing>();
  if (!std::exchange(has_folders_, true)) writing_->new_folder = own_folder().path;
  const std::size_t n_chunks = closed_chunks(n_tokens);
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    const ChunkFileLayout layout(cache, config_.n_head);
    ClosedChunks closed{{own_folder(), block, layout}, {}};
    for (std::size_t c = n_begun_; c < n_chunks; ++c) {
      const auto chunk = GlobalChunk(c);
      if (!cache.keeps(chunk)) continue;
      ChunkRecord record(layout);
      cache.index().save(partition::local_chunk(chunk, shard_.count), record.entry());
      closed.chunks.push_back({chunk, cache.chunk_memory(chunk), std::move(record)});
    }
    writing_->closed.push_back(std::move(closed));
  });
  n_begun_ = n_chunks;
  writing_->state = copy_of(state, n_tokens);
  writing_->begin();
}

ContextPart::StateCopy ContextPart::copy_of(model::SequenceState& state,
                                            std::size_t n_tokens) const {
  const model::StateLayout layout(config_, attention_, n_tokens);
  StateCopy copy{folders_.back(), n_tokens, layout.size_bytes(), {}};
  layout.visit_pieces(state, blocks_, shard_, [&](const model::StatePiece& piece) {
    copy.pieces.push_back({piece.number, piece.offset, {piece.memory.begin(), piece.memory.end()}});
  });
  return copy;
}

bool ContextPart::has_written() const {
  return !is_writing() ||
         writing_->done.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void ContextPart::finish() {
  // Memory of chunks is given back by the thread that takes it.
  const auto writing = std::move(writing_);
  if (!writing) return;
  try {
    writing->done.get();
  } catch (const base::InputError& error) {
    throw SaveError(error.what());
  }
}

std::vector<ContextPart::MappedChunks> ContextPart::map_written(model::SequenceState& state,
                                                                std::size_t n_chunks,
                                                                bool reaches_all) const {
  std::vector<MappedChunks> written;
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    MappedChunks& chunks = written.emplace_back(n_chunks - n_moved_);
    const auto is_read_here = [&](std::size_t chunk) {
      return reaches_all || cache.keeps(GlobalChunk(chunk));
    };
    std::size_t end = n_chunks;
    while (end > n_moved_ && !is_read_here(end - 1)) --end;
    if (end == n_moved_) return;
    ChunkFile file(own_folder(), block, {cache, config_.n_head});
    file.map({n_moved_, end});
    for (std::size_t c = n_moved_; c < end; ++c) {
      const auto chunk = GlobalChunk(c);
      if (is_read_here(c)) chunks[c - n_moved_] = file.mapped(chunk, file.record(chunk));
    }
  });
  return written;
}

void ContextPart::restore(model::SequenceState& state, std::size_t n_tokens, bool reaches_all) {
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    restore_cache(cache, block, n_tokens, reaches_all);
  });
  n_begun_ = n_moved_ = closed_chunks(n_tokens);
  const model::StateLayout layout(config_, attention_, n_tokens);
  const ContextFolder folder = folders_of(folders_, n_tokens).back();
  const std::filesystem::path path = state_path(folder, n_tokens);
  const File file(path, File::Mode::kRead);
  layout.visit_pieces(state, blocks_, shard_, [&](const model::StatePiece& piece) {
    file.read_at(piece.offset, piece.memory);
    std::uint32_t sum = 0;
    file.read_at(layout.size_bytes() + piece.number * sizeof(sum),
                 std::as_writable_bytes(std::span(&sum, 1)));
    if (checksum_of_piece(folder, n_tokens, piece.number, piece.memory) != sum) {
      base::input_error("{}: damaged: piece {} does not match its checksum",
                        base::utf8_name(path.string()), piece.number);
    }
  });
}

/// The closed chunks of a block after so many tokens, wherever they lie.
class ContextPart::SavedChunks {
 public:
  /// Of these, `is_read_here` are; on other hosts may be what this one does not have.
  SavedChunks(const ContextPart& part, const std::string& block, const ChunkFileLayout& layout,
              std::size_t n_chunks, const std::function<bool(GlobalChunk)>& is_read_here) {
    for (std::size_t i = 0; i < part.folders_.size(); ++i) {
      const bool is_last = i + 1 == part.folders_.size();
      const std::size_t begin = part.closed_chunks(part.folders_[i].n_before);
      const std::size_t end =
          is_last ? n_chunks
                  : std::min(n_chunks, part.closed_chunks(part.folders_[i + 1].n_before));
      if (begin >= end) continue;
      files_.emplace_back(end, ChunkFile(part.folders_[i], block, layout));
      std::size_t last = end;
      while (last > begin && !is_read_here(GlobalChunk(last - 1))) --last;
      if (last > begin) files_.back().second.map({begin, last});
    }
  }

  ChunkFile& file_of(GlobalChunk chunk) {
    const auto has = [&](const auto& file) { return partition::number_of(chunk) < file.first; };
    return std::ranges::find_if(files_, has)->second;
  }

 private:
  /// With the chunk after its last one, ascending.
  std::vector<std::pair<std::size_t, ChunkFile>> files_;
};

void ContextPart::restore_cache(model::KvCache& cache, const std::string& block,
                                std::size_t n_tokens, bool reaches_all) {
  const auto is_read_here = [&](GlobalChunk chunk) { return reaches_all || cache.keeps(chunk); };
  SavedChunks saved(*this, block, {cache, config_.n_head}, closed_chunks(n_tokens), is_read_here);
  std::vector<std::pair<GlobalChunk, ChunkRecord>> kept;
  cache.restore(model::cached_rows(attention_, n_tokens), [&](GlobalChunk chunk) {
    if (!is_read_here(chunk)) return std::shared_ptr<model::MappedChunk>();
    ChunkFile& file = saved.file_of(chunk);
    ChunkRecord record = file.record(chunk);
    const auto mapped = file.mapped(chunk, record);
    if (cache.keeps(chunk)) kept.emplace_back(chunk, std::move(record));
    return mapped;
  });
  for (auto& [chunk, record] : kept) {
    cache.restored_index().load(partition::local_chunk(chunk, shard_.count), record.entry());
  }
}

void ContextPart::copy_inherited_chunks() {
  model::NoExchange exchange;
  model::SequenceState state(config_, attention_, blocks_, exchange);
  const std::size_t n_chunks = closed_chunks(folders_.back().n_before);
  visit_caches(state, [&](const std::string& block, model::KvCache& cache) {
    const ChunkFileLayout layout(cache, config_.n_head);
    SavedChunks saved(*this, block, layout, n_chunks, [](GlobalChunk) { return true; });
    ChunkFile own(own_folder(), block, layout);
    for (std::size_t c = 0; c < n_chunks; ++c) {
      const auto chunk = GlobalChunk(c);
      ChunkRecord record = saved.file_of(chunk).record(chunk);
      const auto mapped = saved.file_of(chunk).mapped(chunk, record);
      mapped->verify();
      own.write(chunk, mapped->bytes(), record);
    }
    own.sync();
  });
}

void ContextPart::copy_inherited_state(std::size_t n_tokens) {
  model::NoExchange exchange;
  model::SequenceState state(config_, attention_, blocks_, exchange);
  restore(state, n_tokens, true);
  copy_of(state, n_tokens).write();
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
    for (std::size_t c = 0; c < cache.closed_chunks(); ++c) {
      cache.file_of(GlobalChunk(c))->verify();
    }
  });
}

}  // namespace longreach::dist
