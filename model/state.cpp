#include "model/state.hpp"

#include <algorithm>

namespace longreach::model {

SequenceState::SequenceState(const ModelConfig& config, const AttentionConfig& attention,
                             partition::Range stage_blocks, Exchange& exchange) {
  const std::vector<float> zeros(config.n_embd);
  const std::vector<BlockRef> order = config.execution_order();
  const std::size_t n_heads = partition::heads_of(config.n_head, exchange.shard()).size();
  for (std::size_t i = stage_blocks.begin; i < stage_blocks.end; ++i) {
    if (order[i].kind == BlockKind::kRwkv) {
      blocks.emplace_back(
          RwkvState{zeros, zeros, base::Buffer<float>(n_heads * kernels::kHeadStateSize)});
    } else {
      blocks.emplace_back(
          SparseState{zeros, KvCache(config.n_head, attention.chunk_size, attention.kv, exchange)});
    }
  }
}

SequenceState SequenceState::fork() const {
  SequenceState result;
  for (const auto& block : blocks) {
    if (const auto* rwkv = std::get_if<RwkvState>(&block)) {
      RwkvState copy{rwkv->att_shift, rwkv->ffn_shift, base::Buffer<float>(rwkv->wkv.size())};
      std::ranges::copy(rwkv->wkv.span(), copy.wkv.data());
      result.blocks.emplace_back(std::move(copy));
    } else {
      const auto& sparse = std::get<SparseState>(block);
      result.blocks.emplace_back(SparseState{sparse.ffn_shift, sparse.cache.fork()});
    }
  }
  return result;
}

std::size_t recurrent_bytes(const ModelConfig& config) {
  std::size_t numbers = 0;
  for (const BlockRef& block : config.execution_order()) {
    const std::size_t n_shifts = block.kind == BlockKind::kRwkv ? 2 : 1;
    numbers += n_shifts * config.n_embd;
    // Matrices are read and written.
    if (block.kind == BlockKind::kRwkv) numbers += 2 * config.n_head * kernels::kHeadStateSize;
  }
  return numbers * sizeof(float);
}

}  // namespace longreach::model
