/// How the state of a sequence lies in a file, whatever the grid: its pieces one after another,
/// blocks in execution order, fields in the order of their tables. A matrix of heads is a piece a
/// head; the chunk that is not closed yet, which alone of a cache counts here, likewise.
#pragma once

#include "model/schema/config.hpp"
#include "model/state.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <functional>
#include <span>

namespace longreach::model {

/// Rows of a sequence's caches after so many tokens: none where sparse blocks attend to nothing.
std::size_t cached_rows(const AttentionConfig& attention, std::size_t n_tokens);

/// A piece of a state, and the memory where a shard has it.
struct StatePiece {
  std::size_t number = 0;  ///< Among all pieces of the state.
  std::size_t offset = 0;  ///< Bytes before it.
  std::span<std::byte> memory;
};

/// The pieces of a state after so many tokens.
class StateLayout {
 public:
  /// The configurations must outlive it.
  StateLayout(const ModelConfig& config, const AttentionConfig& attention, std::size_t n_tokens);

  /// Of all pieces together.
  std::size_t size_bytes() const { return size_bytes_; }
  /// Calls visit(piece) for what the shard has of `state`, which is that of its stage's blocks.
  /// Requires: caches of cached_rows rows.
  void visit_pieces(SequenceState& state, partition::Range stage_blocks, partition::Shard shard,
                    const std::function<void(const StatePiece&)>& visit) const;

 private:
  /// Calls visit(block, row of its table, pieces, bytes of each).
  template <typename Visit>
  void visit_fields(Visit&& visit) const;

  const ModelConfig& config_;
  const AttentionConfig& attention_;
  std::size_t n_tokens_;
  std::size_t size_bytes_ = 0;
};

}  // namespace longreach::model
