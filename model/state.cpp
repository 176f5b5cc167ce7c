#include "model/state.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

/// The states that nothing has been read into.
class Fresh {
 public:
  Fresh(const ModelConfig& config, const AttentionConfig& attention, Exchange& exchange)
      : config_(config), attention_(attention), exchange_(exchange) {}

  template <typename State>
  std::vector<float> operator()(const StateField<State, std::vector<float>>& row) const {
    return std::vector<float>(size(row));
  }
  template <typename State>
  base::Buffer<float> operator()(const StateField<State, base::Buffer<float>>& row) const {
    return base::Buffer<float>(size(row));
  }
  template <typename State>
  KvCache operator()(const StateField<State, KvCache>&) const {
    return {config_.n_head, attention_.chunk_size, attention_.kv, exchange_};
  }

 private:
  /// What this shard holds of the array.
  template <typename Row>
  std::size_t size(const Row& row) const {
    const Extents extents(config_);
    const std::size_t n = extents.of(row.shape[0]);
    const bool is_divided = row.split == Split::kByHeads;
    return (is_divided ? partition::heads_of(n, exchange_.shard()).size() : n) *
           extents.of(row.shape[1]) * extents.of(row.shape[2]);
  }

  const ModelConfig& config_;
  const AttentionConfig& attention_;
  Exchange& exchange_;
};

std::vector<float> copy(const std::vector<float>& numbers) { return numbers; }

base::Buffer<float> copy(const base::Buffer<float>& numbers) {
  base::Buffer<float> result(numbers.size());
  std::ranges::copy(numbers.span(), result.data());
  return result;
}

KvCache copy(const KvCache& cache) { return cache.fork(); }

/// Calls visit(split, n, size) for the arrays of a block's state, whose first dimension is n and
/// the others are `size` together.
template <typename Visit>
void visit_arrays(const ModelConfig& config, BlockKind kind, Visit&& visit) {
  const Extents extents(config);
  const auto visit_row = [&]<typename State, typename Field>(const StateField<State, Field>& row) {
    if constexpr (!std::is_same_v<Field, KvCache>) {
      const std::size_t inner = extents.of(row.shape[1]) * extents.of(row.shape[2]);
      visit(row.split, extents.of(row.shape[0]), inner);
    }
  };
  if (kind == BlockKind::kRwkv) {
    visit_state_table<RwkvState>(visit_row);
  } else {
    visit_state_table<SparseState>(visit_row);
  }
}

}  // namespace

SequenceState::SequenceState(const ModelConfig& config, const AttentionConfig& attention,
                             partition::Range stage_blocks, Exchange& exchange) {
  const std::vector<BlockRef> order = config.execution_order();
  const Fresh fresh(config, attention, exchange);
  for (std::size_t i = stage_blocks.begin; i < stage_blocks.end; ++i) {
    if (order[i].kind == BlockKind::kRwkv) {
      blocks.emplace_back(make_state<RwkvState>(fresh));
    } else {
      blocks.emplace_back(make_state<SparseState>(fresh));
    }
  }
}

SequenceState SequenceState::fork() const {
  SequenceState result;
  for (const BlockState& block : blocks) {
    result.blocks.push_back(std::visit(
        []<typename State>(const State& state) -> BlockState {
          return make_state<State>([&](const auto& row) { return copy(state.*row.member); });
        },
        block));
  }
  return result;
}

partition::ShardedAmount state_bytes(const ModelConfig& config, BlockKind kind) {
  partition::ShardedAmount bytes;
  visit_arrays(config, kind, [&](Split split, std::size_t first, std::size_t inner) {
    if (split == Split::kByHeads) {
      bytes.add_divided(first, inner * sizeof(float));
    } else {
      bytes.add_whole(first * inner * sizeof(float));
    }
  });
  return bytes;
}

std::size_t recurrent_bytes(const ModelConfig& config) {
  std::size_t numbers = 0;
  for (const BlockRef& block : config.execution_order()) {
    visit_arrays(config, block.kind, [&](Split split, std::size_t first, std::size_t inner) {
      const bool is_matrix = split == Split::kByHeads;  // matrices are read and written
      numbers += (is_matrix ? 2 : 1) * first * inner;
    });
  }
  return numbers * sizeof(float);
}

}  // namespace longreach::model
