/// What a sequence leaves behind in every block: a few vectors and a matrix per head, or a KV
/// cache.
#pragma once

#include "kernels/base/view.hpp"
#include "model/cache/kv_cache.hpp"
#include "model/schema/config.hpp"
#include "model/schema/tensors.hpp"

#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
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

using BlockState = std::variant<RwkvState, SparseState>;

// ---- The table of what a state is made of: whatever handles states as a whole goes through it.

/// A row of the table: an array of numbers, or a cache, whose size no shape gives.
template <typename State, typename Field>
struct StateField {
  constexpr StateField(std::string_view field_name, Field State::*field_member,
                       std::array<Extent, 3> field_shape = {}, Split field_split = Split::kWhole)
      : name(field_name), member(field_member), shape(field_shape), split(field_split) {}

  std::string_view name;
  Field State::*member;
  std::array<Extent, 3> shape;  ///< On all shards together.
  Split split;                  ///< Of the first dimension.
};

template <typename State>
struct StateTable;

template <>
struct StateTable<RwkvState> {
  static constexpr std::tuple kFields{
      StateField("att_shift", &RwkvState::att_shift,
                 {Extent::kOne, Extent::kOne, Extent::kChannels}),
      StateField("ffn_shift", &RwkvState::ffn_shift,
                 {Extent::kOne, Extent::kOne, Extent::kChannels}),
      StateField("wkv", &RwkvState::wkv, {Extent::kHeads, Extent::kHeadSize, Extent::kHeadSize},
                 Split::kByHeads),
  };
};

template <>
struct StateTable<SparseState> {
  static constexpr std::tuple kFields{
      StateField("ffn_shift", &SparseState::ffn_shift,
                 {Extent::kOne, Extent::kOne, Extent::kChannels}),
      StateField("cache", &SparseState::cache),
  };
};

/// Calls visit(row) for each row of the table of a kind of state.
template <typename State, typename Visit>
void visit_state_table(Visit&& visit) {
  std::apply([&](const auto&... rows) { (visit(rows), ...); }, StateTable<State>::kFields);
}

/// Calls visit(field, row) for each field of a state.
template <typename State, typename Visit>
void visit_state(State& state, Visit&& visit) {
  visit_state_table<std::remove_const_t<State>>(
      [&](const auto& row) { visit(state.*row.member, row); });
}

/// The state whose fields are make(row).
template <typename State, typename Make>
State make_state(Make&& make) {
  return std::apply([&](const auto&... rows) { return State{make(rows)...}; },
                    StateTable<State>::kFields);
}

/// What a rank keeps of the state of a sequence, blocks in execution order. Move-only.
struct SequenceState {
  std::vector<BlockState> blocks;  ///< Those of the rank's stage.

  /// The state before the first token. The exchange must outlive it.
  SequenceState(const ModelConfig& config, const AttentionConfig& attention,
                partition::Range stage_blocks, Exchange& exchange);
  /// The same state once more, in O(state): the caches share their closed chunks.
  SequenceState fork() const;

 private:
  SequenceState() = default;
};

/// Bytes of a block's state, caches aside, as the shards of a stage hold them.
partition::ShardedAmount state_bytes(const ModelConfig& config, BlockKind kind);

/// Bytes of a sequence's state that decoding a token reads or writes, on all ranks together, the KV
/// caches aside.
std::size_t recurrent_bytes(const ModelConfig& config);

}  // namespace longreach::model
