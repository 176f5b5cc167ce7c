/// What a sequence leaves behind in every block: a few vectors and a matrix per head, or a KV
/// cache.
#pragma once

#include "kernels/base/view.hpp"
#include "model/cache/kv_cache.hpp"
#include "model/schema/config.hpp"

#include <cstddef>
#include <variant>
#include <vector>

namespace longreach::model {

/// State of an RWKV-7 block.
struct RwkvState {
  std::vector<float> att_shift,
      ffn_shift;            ///< (C): the last token's normalised input of either mix.
  base::Buffer<float> wkv;  ///< [own heads][64 key channels][64 value channels]
};

/// State of a sparse-attention block.
struct SparseState {
  std::vector<float> ffn_shift;  ///< (C)
  KvCache cache;
};

/// What a rank keeps of the state of a sequence, blocks in execution order. Move-only.
struct SequenceState {
  std::vector<std::variant<RwkvState, SparseState>> blocks;  ///< Those of the rank's stage.

  /// The state before the first token. The exchange must outlive it.
  SequenceState(const ModelConfig& config, const AttentionConfig& attention,
                partition::Range stage_blocks, Exchange& exchange);
  /// The same state once more, in O(state): the caches share their closed chunks.
  SequenceState fork() const;

 private:
  SequenceState() = default;
};

/// Bytes of a sequence's state that decoding a token reads or writes, on all ranks together, the KV
/// caches aside.
std::size_t recurrent_bytes(const ModelConfig& config);

}  // namespace longreach::model
