#include "model/state.hpp"

namespace longreach::model {

SequenceState::SequenceState(const ModelConfig& config, std::size_t chunk_size) {
  const std::vector<float> zeros(config.n_embd);
  for (const BlockRef& block : config.execution_order()) {
    if (block.kind == BlockKind::kRwkv) {
      blocks.emplace_back(
          RwkvState{zeros, zeros, base::Buffer<float>(config.n_head * kernels::kHeadStateSize)});
    } else {
      blocks.emplace_back(SparseState{zeros, KvCache(config.n_head, chunk_size)});
    }
  }
}

std::size_t SequenceState::recurrent_bytes() const {
  std::size_t numbers = 0;
  for (const auto& block : blocks) {
    if (const auto* rwkv = std::get_if<RwkvState>(&block)) {
      numbers += rwkv->att_shift.size() + rwkv->ffn_shift.size() + 2 * rwkv->wkv.size();
    } else {
      numbers += std::get<SparseState>(block).ffn_shift.size();
    }
  }
  return numbers * sizeof(float);
}

}  // namespace longreach::model
