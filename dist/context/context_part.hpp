/// What a rank reads and writes of a context: the closed chunks it keeps, and its pieces of states.
/// format.md describes the bytes, which do not depend on the grid.
#pragma once

#include "dist/context/file.hpp"
#include "model/schema/config.hpp"
#include "model/state.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>

namespace longreach::dist {

/// Neither copied nor moved. Not collective; ranks write disjoint parts of the same files.
class ContextPart {
 public:
  /// The configurations must outlive it.
  ContextPart(std::filesystem::path directory, const model::ModelConfig& config,
              const model::AttentionConfig& attention, partition::Range stage_blocks,
              partition::Shard shard);
  ContextPart(const ContextPart&) = delete;
  ContextPart& operator=(const ContextPart&) = delete;

  /// Writes what `state`, after n_tokens tokens, has and the files do not have yet; returns when it
  /// is on the disk. States that are saved one after the other, or after the one restored, continue
  /// each other. Errors: InputError naming the file.
  void save(model::SequenceState& state, std::size_t n_tokens);

  /// Makes `state`, which nothing has been read into, the one that was saved after n_tokens tokens.
  /// Closed chunks are mapped, not read. `reaches_all`: those of other shards too.
  /// Errors: InputError naming the file.
  void restore(model::SequenceState& state, std::size_t n_tokens, bool reaches_all);

  /// Compares a saved state with its checksums; of a part that has all blocks, and the only shard.
  /// Errors: InputError naming the file that is damaged.
  void verify_state(std::size_t n_tokens);
  /// The same of all chunks that are closed after so many tokens, whose tokens an error names.
  void verify_chunks(std::size_t n_tokens);

 private:
  /// Of every cache after so many tokens.
  std::size_t closed_chunks(std::size_t n_tokens) const;
  void save_chunks(model::KvCache& cache, const std::string& block, std::size_t n_chunks);
  void restore_cache(model::KvCache& cache, const std::string& block, std::size_t n_tokens,
                     bool reaches_all);
  /// Calls visit(name of the block, its cache) for the sparse blocks of the stage.
  template <typename Visit>
  void visit_caches(model::SequenceState& state, Visit&& visit) const;

  std::filesystem::path directory_;
  const model::ModelConfig& config_;
  const model::AttentionConfig& attention_;
  partition::Range blocks_;
  partition::Shard shard_;
  std::size_t n_saved_chunks_ = 0;  ///< Of every cache, that the files hold.
};

}  // namespace longreach::dist
