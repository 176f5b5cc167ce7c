#include "model/schema/tensors.hpp"

#include "kernels/base/error.hpp"
#include "kernels/recurrence/recurrence.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace longreach::model {
namespace {

/// What tensors are that some models of this family have, by a part of their names.
struct Hint {
  std::string_view part, meaning;
};

constexpr std::array kHints = {
    Hint{"lora_", "a factor of a LoRA that was not merged into the weights, as --lora does"},
    Hint{".lora.", "a factor of a LoRA that was not merged into the weights, as --lora does"},
    Hint{".disha", "a part of an adapter (Bone, MiSS) that was not merged into the weights"},
    Hint{
        ".time_state",
        "an initial state that was merged into the file; --state takes one from a file of its own"},
    Hint{".time_offset", "a part of an initial state that was merged into the file"},
    Hint{".ts_state", "a part of an initial state that was merged into the file"},
    Hint{".ffn.s_emb", "a table of DeepEmbed (RWKV-7a, RWKV-7b)"},
    Hint{".ffn.s", "a part of DeepEmbed (RWKV-7a, RWKV-7b)"},
    Hint{".qkv.", "a part of the attention of RWKV-7b"},
    Hint{"moba.", "a part of sparse blocks of another kind"},
    Hint{".q_proj.", "a part of a layer of attention, as hybrid models have"},
    Hint{".attn_q.", "a part of a layer of attention, as hybrid models have"},
};

[[noreturn]] void refuse_unused(const Checkpoint& checkpoint,
                                const std::vector<std::string_view>& names) {
  const std::string_view first = names.front();
  const auto* const hint =
      std::ranges::find_if(kHints, [&](const Hint& h) { return first.find(h.part) != first.npos; });
  base::input_error("{}: tensor {} is not one that this model uses{}{}", checkpoint.path().string(),
                    first,
                    hint == kHints.end() ? "" : fmt::format("; it seems to be {}", hint->meaning),
                    names.size() == 1 ? "" : fmt::format(" ({} more are not)", names.size() - 1));
}

}  // namespace

Storage storage_of(Role role) {
  switch (role) {
    case Role::kEmbedding:
      return Storage::kRows;
    case Role::kNormScale:
    case Role::kNormBias:
    case Role::kTokenShift:
    case Role::kDecayBias:
    case Role::kSigmoidBias:
    case Role::kKeyScale:
    case Role::kRateScale:
    case Role::kBonus:
      return Storage::kVector;
    case Role::kProjection:
    case Role::kQuery:
    case Role::kOutput:
    case Role::kMixOutput:
    case Role::kRestored:
      return Storage::kLinear;
    case Role::kFirstFactor:
    case Role::kSecondFactor:
    case Role::kGateFactor:
      return Storage::kFactor;
  }
  return {};
}

BlockWeights empty_block(BlockKind kind) {
  if (kind == BlockKind::kRwkv) return RwkvBlockWeights{};
  return SparseBlockWeights{};
}

std::string factor_name(std::string_view matrix, Factor factor) {
  return fmt::format("{}_{}", matrix, factor == Factor::kFirst ? 'a' : 'b');
}

TensorSpec factor_of(const TensorSpec& layer, Factor factor, std::size_t rank) {
  const std::string name = factor_name(layer.name, factor);
  if (factor == Factor::kFirst) {
    return {name, layer.role, {Extent::kFactorRank, layer.shape[1]}, Split::kByPanels, rank};
  }
  return {name, Role::kRestored, {layer.shape[0], Extent::kFactorRank}, layer.split, rank};
}

Extents::Extents(const ModelConfig& model, const BlockRef& block)
    : config(model), prefix(block.name() + ".") {
  if (block.kind == BlockKind::kRwkv) low_ranks = config.low_ranks[block.index];
}

std::size_t Extents::of(Extent extent) const {
  switch (extent) {
    case Extent::kOne:
      return 1;
    case Extent::kVocabulary:
      return config.vocab_size;
    case Extent::kChannels:
      return config.n_embd;
    case Extent::kHidden:
      return config.ffn_size;
    case Extent::kHeads:
      return config.n_head;
    case Extent::kHeadSize:
      return config.head_size;
    case Extent::kDecayRank:
      return low_ranks.w;
    case Extent::kRateRank:
      return low_ranks.a;
    case Extent::kResidualRank:
      return low_ranks.v;
    case Extent::kGateRank:
      return low_ranks.g;
    case Extent::kFactorRank:
      break;
  }
  LR_CHECK(false);
  return 0;
}

std::size_t Extents::of(Extent extent, const TensorSpec& tensor) const {
  return extent == Extent::kFactorRank ? tensor.factor_rank : of(extent);
}

std::size_t Extents::factor_rank(const TensorSpec& layer) const {
  const auto found = config.factor_ranks.find(prefix + layer.name);
  return found == config.factor_ranks.end() ? 0 : found->second;
}

std::vector<std::size_t> Extents::shape(const TensorSpec& tensor) const {
  std::vector<std::size_t> result;
  for (const Extent extent : tensor.shape) result.push_back(of(extent, tensor));
  return result;
}

std::size_t Extents::n_inputs(const TensorSpec& matrix) const {
  return of(matrix.shape[matrix.input_dimension()], matrix);
}

std::size_t Extents::n_outputs(const TensorSpec& matrix) const {
  return of(matrix.shape[1 - matrix.input_dimension()], matrix);
}

partition::Range range_of(Split split, std::size_t n, partition::Shard shard) {
  switch (split) {
    case Split::kWhole:
      return {0, n};
    case Split::kByHeads: {
      const partition::Range heads = partition::heads_of(n / kernels::kHeadSize, shard);
      return {heads.begin * kernels::kHeadSize, heads.end * kernels::kHeadSize};
    }
    case Split::kByPanels:
      return partition::columns_of(n, shard);
  }
  return {};
}

std::vector<ListedTensor> list_tensors(const ModelConfig& config) {
  std::vector<ListedTensor> list;
  std::set<std::string> names;
  const auto lister = [&](const std::string& prefix, const Extents& extents, Use use) {
    return by_matrices(extents, [&, prefix, extents, use](const auto&, const TensorSpec& spec) {
      std::string name = prefix + spec.name;
      if (!names.insert(name).second) return;
      list.push_back({std::move(name), extents.shape(spec), spec, use});
    });
  };
  Weights weights;
  visit_input_tensors(weights, lister("", Extents(config), Use::kInput));
  for (const BlockRef& block : config.execution_order()) {
    BlockWeights fields = empty_block(block.kind);
    visit_tensors(fields, block, lister(block.name() + ".", Extents(config, block), Use::kBlock));
  }
  visit_output_tensors(weights, lister("", Extents(config), Use::kOutput));
  // What is not listed yet of blocks that have all that an RWKV-7 block can have.
  for (std::size_t i = 0; i < config.n_rwkv; ++i) {
    const BlockRef block{BlockKind::kRwkv, i};
    RwkvBlockWeights fields;
    visit_tensors(fields, {BlockKind::kRwkv, 1},
                  lister(block.name() + ".", Extents(config, block), Use::kNone));
  }
  return list;
}

void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  std::set<std::string, std::less<>> names;
  for (ListedTensor& tensor : list_tensors(config)) {
    if (tensor.use != Use::kNone) checkpoint.get(tensor.name, tensor.shape);
    names.insert(std::move(tensor.name));
  }
  std::vector<std::string_view> unused;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!names.contains(name)) unused.push_back(name);
  }
  if (!unused.empty()) refuse_unused(checkpoint, unused);
}

}  // namespace longreach::model
