/// The tensors of a model: the one table of their names, their shapes and how the shards of a stage
/// divide them. Whatever has to do with tensors visits it: loading, presets, the sizes of a file's
/// model, the bytes of a run, the listing of a file, and the search for tensors that nothing uses.
#pragma once

#include "model/schema/config.hpp"
#include "model/weights.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::model {

/// A size that shapes are made of.
enum class Extent {
  kOne,
  kVocabulary,    ///< V
  kChannels,      ///< C
  kHidden,        ///< F
  kHeads,         ///< H
  kHeadSize,      ///< N
  kDecayRank,     ///< Of a block's low-rank factors w,
  kRateRank,      ///< a,
  kResidualRank,  ///< v
  kGateRank,      ///< and g.
  kFactorRank,    ///< Of the two factors of a linear layer: TensorSpec::factor_rank.
};

/// What a tensor is for.
enum class Role {
  kEmbedding,
  // Vectors:
  kNormScale,
  kNormBias,
  kTokenShift,
  kDecayBias,    ///< w0
  kSigmoidBias,  ///< a0, v0
  kKeyScale,     ///< k_k
  kRateScale,    ///< k_a
  kBonus,        ///< r_k
  // Linear layers:
  kProjection,  ///< Of normalised channels.
  kQuery,       ///< The same, for a sparse block's queries.
  kOutput,      ///< From heads into the residual stream.
  kMixOutput,   ///< From a channel mix's hidden columns into the residual stream.
  kRestored,    ///< From the numbers that a layer's first factor gives: its second one.
  // Low-rank factors:
  kFirstFactor,
  kSecondFactor,
  kGateFactor,  ///< The gate's second one.
};

/// How a tensor lies in a file.
enum class Storage {
  kRows,  ///< Of the embedding.
  kVector,
  kLinear,  ///< (outputs, inputs): y = x W^T.
  kFactor,  ///< (inputs, outputs): y = x A.
};

Storage storage_of(Role role);

/// Which of the outputs a shard has.
enum class Split {
  kWhole,     ///< All.
  kByHeads,   ///< Those of its heads.
  kByPanels,  ///< Its panels of them (partition::columns_of).
};

/// A row of the table.
struct TensorSpec {
  std::string name;  ///< After its block's prefix, for example "att.w1".
  Role role;
  std::vector<Extent> shape;  ///< As published files have it.
  Split split = Split::kWhole;
  std::size_t factor_rank = 0;  ///< Of a linear layer's factors.

  /// Which dimension of a matrix counts its inputs; the other one counts its outputs.
  std::size_t input_dimension() const { return storage_of(role) == Storage::kFactor ? 0 : 1; }
};

/// Short names for the rows of the table.
namespace table {

using enum Extent;
using enum Role;
using enum Split;

/// (C)
inline TensorSpec vector(std::string name, Role role) {
  return {std::move(name), role, {kChannels}};
}
/// (1, 1, C)
inline TensorSpec row(std::string name, Role role) {
  return {std::move(name), role, {kOne, kOne, kChannels}};
}
inline TensorSpec linear(std::string name, Role role, Extent outputs, Extent inputs, Split split) {
  return {std::move(name), role, {outputs, inputs}, split};
}
inline TensorSpec factor(std::string name, Role role, Extent inputs, Extent outputs, Split split) {
  return {std::move(name), role, {inputs, outputs}, split};
}

}  // namespace table

// ---- The table: visit(field, spec) is called for each tensor of a structure of weights.

/// What comes before the first block.
template <typename Visit>
void visit_input_tensors(Weights& w, Visit&& visit) {
  using namespace table;
  visit(w.embedding, TensorSpec{"emb.weight", kEmbedding, {kVocabulary, kChannels}});
  visit(w.ln0.weight, vector("blocks.0.ln0.weight", kNormScale));
  visit(w.ln0.bias, vector("blocks.0.ln0.bias", kNormBias));
}

/// What comes after the last block. The largest matrix is the first, as it is in memory twice while
/// it is packed.
template <typename Visit>
void visit_output_tensors(Weights& w, Visit&& visit) {
  using namespace table;
  visit(w.head, linear("head.weight", kProjection, kVocabulary, kChannels, kByPanels));
  visit(w.ln_out.weight, vector("ln_out.weight", kNormScale));
  visit(w.ln_out.bias, vector("ln_out.bias", kNormBias));
}

/// What both kinds of blocks end with.
template <typename Visit>
void visit_tensors(ChannelMixWeights& w, Visit&& visit) {
  using namespace table;
  visit(w.x_k, row("ffn.x_k", kTokenShift));
  visit(w.key, linear("ffn.key.weight", kProjection, kHidden, kChannels, kByPanels));
  visit(w.value, linear("ffn.value.weight", kMixOutput, kChannels, kHidden, kByPanels));
}

template <typename Visit>
void visit_tensors(RwkvBlockWeights& w, const BlockRef& block, Visit&& visit) {
  using namespace table;
  visit(w.ln1.weight, vector("ln1.weight", kNormScale));
  visit(w.ln1.bias, vector("ln1.bias", kNormBias));
  visit(w.ln2.weight, vector("ln2.weight", kNormScale));
  visit(w.ln2.bias, vector("ln2.bias", kNormBias));
  visit(w.x_r, row("att.x_r", kTokenShift));
  visit(w.x_w, row("att.x_w", kTokenShift));
  visit(w.x_k, row("att.x_k", kTokenShift));
  visit(w.x_v, row("att.x_v", kTokenShift));
  visit(w.x_a, row("att.x_a", kTokenShift));
  visit(w.x_g, row("att.x_g", kTokenShift));
  visit(w.receptance, linear("att.receptance.weight", kProjection, kChannels, kChannels, kByHeads));
  visit(w.key, linear("att.key.weight", kProjection, kChannels, kChannels, kByHeads));
  visit(w.value, linear("att.value.weight", kProjection, kChannels, kChannels, kByHeads));
  visit(w.output, linear("att.output.weight", kOutput, kChannels, kChannels, kByPanels));
  visit(w.decay.bias, row("att.w0", kDecayBias));
  visit(w.decay.first, factor("att.w1", kFirstFactor, kChannels, kDecayRank, kWhole));
  visit(w.decay.second, factor("att.w2", kSecondFactor, kDecayRank, kChannels, kByHeads));
  visit(w.rate.bias, row("att.a0", kSigmoidBias));
  visit(w.rate.first, factor("att.a1", kFirstFactor, kChannels, kRateRank, kWhole));
  visit(w.rate.second, factor("att.a2", kSecondFactor, kRateRank, kChannels, kByHeads));
  if (block.index != 0) {  // the residual is one of the first block's values
    visit(w.residual.bias, row("att.v0", kSigmoidBias));
    visit(w.residual.first, factor("att.v1", kFirstFactor, kChannels, kResidualRank, kWhole));
    visit(w.residual.second, factor("att.v2", kSecondFactor, kResidualRank, kChannels, kByHeads));
  }
  visit(w.gate.first, factor("att.g1", kFirstFactor, kChannels, kGateRank, kWhole));
  visit(w.gate.second, factor("att.g2", kGateFactor, kGateRank, kChannels, kByHeads));
  visit(w.k_k, row("att.k_k", kKeyScale));
  visit(w.k_a, row("att.k_a", kRateScale));
  visit(w.r_k, TensorSpec{"att.r_k", kBonus, {kHeads, Extent::kHeadSize}});
  visit(w.ln_x.weight, vector("att.ln_x.weight", kNormScale));
  visit(w.ln_x.bias, vector("att.ln_x.bias", kNormBias));
  visit_tensors(w.channel_mix, visit);
}

template <typename Visit>
void visit_tensors(SparseBlockWeights& w, const BlockRef&, Visit&& visit) {
  using namespace table;
  visit(w.ln1.weight, vector("ln1.weight", kNormScale));
  visit(w.ln1.bias, vector("ln1.bias", kNormBias));
  visit(w.ln2.weight, vector("ln2.weight", kNormScale));
  visit(w.ln2.bias, vector("ln2.bias", kNormBias));
  visit(w.receptance, linear("att.receptance.weight", kQuery, kChannels, kChannels, kByHeads));
  visit(w.key, linear("att.key.weight", kProjection, kChannels, kChannels, kByHeads));
  visit(w.value, linear("att.value.weight", kProjection, kChannels, kChannels, kByHeads));
  visit(w.output, linear("att.output.weight", kOutput, kChannels, kChannels, kByPanels));
  visit_tensors(w.channel_mix, visit);
}

/// The tensors of a block of either kind.
template <typename Visit>
void visit_tensors(BlockWeights& w, const BlockRef& block, Visit&& visit) {
  std::visit([&](auto& weights) { visit_tensors(weights, block, visit); }, w);
}

/// Weights of the block's kind, of which nothing is loaded.
BlockWeights empty_block(BlockKind kind);

// ---- What follows from the table.

/// Which of the two factors of a linear layer of low rank: y = (x A^T) B^T.
enum class Factor {
  kFirst,   ///< A (rank, inputs).
  kSecond,  ///< B (outputs, rank).
};

/// What a file calls a factor of the layer that it would call `matrix`:
/// "blocks.0.att.key.weight_a".
std::string factor_name(std::string_view matrix, Factor factor);

/// The row of the table that a factor of a layer would have. The first one is split by panels.
TensorSpec factor_of(const TensorSpec& layer, Factor factor, std::size_t rank);

/// The sizes of a model, and of the low-rank factors of one of its blocks.
struct Extents {
  const ModelConfig& config;
  LowRanks low_ranks = {};
  std::string prefix = {};  ///< Of the block's names.

  explicit Extents(const ModelConfig& model) : config(model) {}
  Extents(const ModelConfig& model, const BlockRef& block);

  /// But kFactorRank.
  std::size_t of(Extent extent) const;
  std::vector<std::size_t> shape(const TensorSpec& tensor) const;
  /// Of a matrix.
  std::size_t n_inputs(const TensorSpec& matrix) const;
  std::size_t n_outputs(const TensorSpec& matrix) const;
  /// Of a linear layer; 0 if it is one matrix.
  std::size_t factor_rank(const TensorSpec& layer) const;

 private:
  std::size_t of(Extent extent, const TensorSpec& tensor) const;
};

/// A visitor of the table that calls `visit` with the matrices of linear layers in place of these.
template <typename Visit>
auto by_matrices(const Extents& extents, Visit visit) {
  return [extents, visit = std::move(visit)](auto& field, const TensorSpec& spec) mutable {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, LinearWeights>) {
      const std::size_t rank = extents.factor_rank(spec);
      if (rank == 0) {
        visit(field.matrix, spec);
      } else {
        visit(field.first, factor_of(spec, Factor::kFirst, rank));
        visit(field.matrix, factor_of(spec, Factor::kSecond, rank));
      }
    } else {
      visit(field, spec);
    }
  };
}

/// What a shard has of n outputs.
partition::Range range_of(Split split, std::size_t n, partition::Shard shard);

/// Where a tensor of a checkpoint is used.
enum class Use {
  kInput,   ///< Before the first block.
  kBlock,   ///< In a block that is executed.
  kOutput,  ///< After the last one.
  kNone,    ///< It may be absent: of the first block's residual, or of a block never executed.
};

/// A tensor that a checkpoint of the model has or may have.
struct ListedTensor {
  std::string name;  ///< In full.
  std::vector<std::size_t> shape;
  TensorSpec spec;
  Use use;
};

/// All of them.
std::vector<ListedTensor> list_tensors(const ModelConfig& config);

/// Compares a checkpoint with the list.
/// Errors: InputError naming file and tensor, for one that is missing, has another shape, or is
/// none of the list, with what it probably is.
void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace longreach::model
