/// What a sequence leaves behind in every block: a few vectors and a matrix per head, or a KV
/// cache.
#pragma once

#include "kernels/base/view.hpp"
#include "model/config.hpp"
#include "model/kv_cache.hpp"

#include <cstddef>
#include <variant>
#include <vector>

namespace longreach::model {

/// State of an RWKV-7 block.
struct RwkvState {
  std::vector<float> att_shift,
      ffn_shift;            ///< (C): the last token's normalised input of either mix.
  base::Buffer<float> wkv;  ///< [H][64 key channels][64 value channels]
};

/// State of a sparse-attention block.
struct SparseState {
  std::vector<float> ffn_shift;  ///< (C)
  KvCache cache;
};

/// State of a sequence, blocks in execution order. Move-only.
struct SequenceState {
  std::vector<std::variant<RwkvState, SparseState>> blocks;

  /// The state before the first token. chunk_size is the KV cache's.
  SequenceState(const ModelConfig& config, std::size_t chunk_size);
  /// Bytes that decoding a token reads or writes, the KV caches aside.
  std::size_t recurrent_bytes() const;
};

}  // namespace longreach::model
