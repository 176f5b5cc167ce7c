/// What a rank reads and writes of a context: the closed chunks it keeps, and its pieces of states.
/// format.md describes the bytes, which do not depend on the grid.
#pragma once

#include "dist/context/chunk_file.hpp"
#include "dist/context/context_folders.hpp"
#include "kernels/base/error.hpp"
#include "model/schema/config.hpp"
#include "model/state.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace longreach::dist {

/// What was begun could not be written. Whatever is not about this context may go on.
class SaveError : public base::InputError {
 public:
  using InputError::InputError;
};

/// Neither copied nor moved; calls come from one thread. Not collective; ranks write disjoint parts
/// of the same files.
class ContextPart {
 public:
  /// The configurations must outlive it.
  ContextPart(ContextFolders folders, const model::ModelConfig& config,
              const model::AttentionConfig& attention, partition::Range stage_blocks,
              partition::Shard shard);
  ContextPart(const ContextPart&) = delete;
  ContextPart& operator=(const ContextPart&) = delete;
  ~ContextPart();

  /// Begins to write what `state`, after n_tokens tokens, has and the files do not have yet, on a
  /// thread of its own: what comes after may be read meanwhile. Waits for what was begun before,
  /// which must be of states that this one continues, as must be the one restored. What all ranks
  /// have written of the first n_written tokens serves as the caches' memory from now on;
  /// `reaches_all`: also what other shards have written. All shards call it alike, and give back
  /// memory together or not at all: `first_error`, called once on each, gives the error of one,
  /// empty if none has any. Errors: SaveError naming the file, also of what was begun before;
  /// nothing is begun then.
  void save(model::SequenceState& state, std::size_t n_tokens, std::size_t n_written,
            bool reaches_all, const std::function<std::string(const std::string&)>& first_error);
  bool is_writing() const { return writing_ != nullptr; }
  /// Whether what was begun has come to its end, good or bad, so that nothing waits for it.
  bool has_written() const;
  /// Returns when what was begun is on the disk. Errors: SaveError naming the file.
  void finish();

  /// Makes `state`, which nothing has been read into, the one that was saved after n_tokens tokens.
  /// Closed chunks are mapped, not read. `reaches_all`: those of other shards too.
  /// Errors: InputError naming the file.
  void restore(model::SequenceState& state, std::size_t n_tokens, bool reaches_all);

  /// Compares a saved state with its checksums; of a part that has all blocks, and the only shard.
  /// Errors: InputError naming the file that is damaged.
  void verify_state(std::size_t n_tokens);
  /// The same of all chunks that are closed after so many tokens, whose tokens an error names.
  void verify_chunks(std::size_t n_tokens);

  /// Copies into the context's own folder what others have of its first chunks, as checked. Of a
  /// part that has all blocks, and the only shard. Returns when that is on the disk.
  void copy_inherited_chunks();
  /// The same of a state that another folder has.
  void copy_inherited_state(std::size_t n_tokens);

 private:
  struct StateCopy;
  struct Writing;
  class SavedChunks;

  /// Of every cache after so many tokens.
  std::size_t closed_chunks(std::size_t n_tokens) const;
  using MappedChunks = std::vector<std::shared_ptr<model::MappedChunk>>;
  /// Of each cache the chunks from n_moved_ on, null where they are not read here.
  std::vector<MappedChunks> map_written(model::SequenceState& state, std::size_t n_chunks,
                                        bool reaches_all) const;
  void restore_cache(model::KvCache& cache, const std::string& block, std::size_t n_tokens,
                     bool reaches_all);
  /// Calls visit(name of the block, its cache) for the sparse blocks of the stage.
  template <typename Visit>
  void visit_caches(model::SequenceState& state, Visit&& visit) const;

  /// Of a state as the context's own folder is to have it.
  StateCopy copy_of(model::SequenceState& state, std::size_t n_tokens) const;

  const ContextFolder& own_folder() const { return folders_.back(); }

  ContextFolders folders_;
  const model::ModelConfig& config_;
  const model::AttentionConfig& attention_;
  partition::Range blocks_;
  partition::Shard shard_;
  // Of every cache:
  std::size_t n_begun_;       ///< Chunks that the files hold, or soon will.
  std::size_t n_moved_;       ///< Chunks whose memory is that of files, or need not be.
  bool has_folders_ = false;  ///< Or soon will.
  std::unique_ptr<Writing> writing_;
};

}  // namespace longreach::dist
