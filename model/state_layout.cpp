#include "model/state_layout.hpp"

#include "kernels/base/error.hpp"

namespace longreach::model {

std::size_t cached_rows(const AttentionConfig& attention, std::size_t n_tokens) {
  return attention.mode == AttentionMode::kNone ? 0 : n_tokens;
}

template <typename Visit>
void StateLayout::visit_fields(Visit&& visit) const {
  const Extents extents(config_);
  const kernels::HeadLayout head(attention_.kv, attention_.chunk_size);
  const std::vector<BlockRef> order = config_.execution_order();
  for (std::size_t block = 0; block < order.size(); ++block) {
    const auto visit_row =
        [&]<typename State, typename Field>(const StateField<State, Field>& row) {
          if constexpr (std::is_same_v<Field, KvCache>) {
            const bool has_open = cached_rows(attention_, n_tokens_) % attention_.chunk_size != 0;
            visit(block, row, has_open ? config_.n_head : 0, head.size_bytes());
          } else {
            visit(block, row, extents.of(row.shape[0]),
                  extents.of(row.shape[1]) * extents.of(row.shape[2]) * sizeof(float));
          }
        };
    if (order[block].kind == BlockKind::kRwkv) {
      visit_state_table<RwkvState>(visit_row);
    } else {
      visit_state_table<SparseState>(visit_row);
    }
  }
}

StateLayout::StateLayout(const ModelConfig& config, const AttentionConfig& attention,
                         std::size_t n_tokens)
    : config_(config), attention_(attention), n_tokens_(n_tokens) {
  visit_fields([this](std::size_t, const auto&, std::size_t n_pieces, std::size_t n_bytes) {
    size_bytes_ += n_pieces * n_bytes;
  });
}

void StateLayout::visit_pieces(SequenceState& state, partition::Range stage_blocks,
                               partition::Shard shard,
                               const std::function<void(const StatePiece&)>& visit) const {
  StatePiece next;  // its memory aside
  visit_fields([&]<typename State, typename Field>(std::size_t block,
                                                   const StateField<State, Field>& row,
                                                   std::size_t n, std::size_t n_bytes) {
    partition::Range here{0, 0};
    std::span<std::byte> memory;
    if (block >= stage_blocks.begin && block < stage_blocks.end) {
      Field& field = std::get<State>(state.blocks[block - stage_blocks.begin]).*row.member;
      if constexpr (std::is_same_v<Field, KvCache>) {
        LR_CHECK(field.size() == cached_rows(attention_, n_tokens_));
        memory = field.open_memory();
        here = {0, memory.empty() ? 0 : n};
      } else {
        memory = std::as_writable_bytes(std::span(field.data(), field.size()));
        const bool is_divided = row.split == Split::kByHeads;
        here = is_divided ? partition::heads_of(n, shard) : partition::Range{0, n};
      }
      LR_CHECK(memory.size() == here.size() * n_bytes);
    }
    for (std::size_t i = here.begin; i < here.end; ++i) {
      visit({next.number + i, next.offset + i * n_bytes,
             memory.subspan((i - here.begin) * n_bytes, n_bytes)});
    }
    next.number += n;
    next.offset += n * n_bytes;
  });
}

}  // namespace longreach::model
