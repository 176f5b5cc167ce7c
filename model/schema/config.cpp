#include "model/schema/config.hpp"

#include "kernels/base/error.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "model/schema/config_file.hpp"
#include "model/schema/gguf_config.hpp"
#include "model/schema/tensors.hpp"

#include <algorithm>
#include <charconv>
#include <set>

namespace longreach::model {
namespace {

/// The numbers i for which there are tensors `<group>.<i>.`.
std::set<std::size_t> block_numbers(const Checkpoint& checkpoint, std::string_view group) {
  std::set<std::size_t> numbers;
  const std::string start = std::string(group) + ".";
  for (auto it = checkpoint.tensors().lower_bound(start); it != checkpoint.tensors().end(); ++it) {
    const std::string& name = it->first;
    if (!name.starts_with(start)) break;
    std::size_t number = 0;
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + start.size(), end, number);
    if (error != std::errc() || rest == end || *rest != '.') {
      base::input_error("{}: tensor {}: expected a block number after '{}'",
                        checkpoint.path().string(), name, start);
    }
    numbers.insert(number);
  }
  return numbers;
}

/// How many sparse blocks there are; their numbers must be 0, 1, ..
std::size_t count_sparse_blocks(const Checkpoint& checkpoint) {
  const std::set<std::size_t> numbers = block_numbers(checkpoint, "moba");
  if (!numbers.empty() && *numbers.rbegin() != numbers.size() - 1) {
    base::input_error("{}: sparse blocks must be numbered 0 to {}, found moba.{}",
                      checkpoint.path().string(), numbers.size() - 1, *numbers.rbegin());
  }
  return numbers.size();
}

const Tensor& matrix(const Checkpoint& checkpoint, const std::string& name) {
  const Tensor& tensor = checkpoint.get(name);
  if (tensor.shape.size() != 2) {
    base::input_error("{}: tensor {}: expected two dimensions, found shape {}",
                      checkpoint.path().string(), name, shape_text(tensor.shape));
  }
  return tensor;
}

// ---- where sizes are read: in the first tensors of the table that have them

constexpr auto kInputTable = [](auto&& visit) {
  Weights weights;
  visit_input_tensors(weights, visit);
};

constexpr auto kBlockTable = [](auto&& visit) {
  RwkvBlockWeights weights;
  visit_tensors(weights, {BlockKind::kRwkv, 1}, visit);
};

/// The first tensor of a table for which `fits` holds.
template <typename Table, typename Fits>
TensorSpec first_of(const Table& table, Fits&& fits) {
  std::optional<TensorSpec> found;
  table([&](const auto&, const TensorSpec& spec) {
    if (!found && fits(spec)) found = spec;
  });
  return *found;
}

/// A tensor that has an extent, in one of its dimensions.
struct Source {
  std::string name;
  std::size_t dimension;
};

template <typename Table>
Source source_of(Extent extent, const Table& table, const std::string& prefix = "") {
  const auto place = [&](const TensorSpec& spec) { return std::ranges::find(spec.shape, extent); };
  const TensorSpec found =
      first_of(table, [&](const TensorSpec& spec) { return place(spec) != spec.shape.end(); });
  return {prefix + found.name, static_cast<std::size_t>(place(found) - found.shape.begin())};
}

/// The tensor in which a dimension of a matrix lies, as the file may have two factors in its place.
const Tensor& matrix_with(const Checkpoint& checkpoint, const Source& source) {
  const std::string factor =
      factor_name(source.name, source.dimension == 0 ? Factor::kSecond : Factor::kFirst);
  return matrix(checkpoint, checkpoint.find(factor) == nullptr ? source.name : factor);
}

std::size_t read_extent(const Checkpoint& checkpoint, const Source& source) {
  return matrix_with(checkpoint, source).shape[source.dimension];
}

/// 0 where the block has no such factors.
std::size_t read_rank(const Checkpoint& checkpoint, Extent rank, const std::string& prefix) {
  const Source source = source_of(rank, kBlockTable, prefix);
  return checkpoint.find(source.name) == nullptr ? 0 : read_extent(checkpoint, source);
}

/// By the first factors; that the second ones are there and fit check_tensors() sees.
void read_factor_ranks(const Checkpoint& checkpoint, ModelConfig& config) {
  constexpr std::string_view kMatrix = ".weight";  // other names, as att.k_a, end in that letter
  const std::string first_ending = factor_name(kMatrix, Factor::kFirst);
  const std::string second_ending = factor_name(kMatrix, Factor::kSecond);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const bool is_second = name.ends_with(second_ending);
    if ((!is_second && !name.ends_with(first_ending)) || tensor.shape.size() != 2) continue;
    const std::string matrix = name.substr(0, name.size() - first_ending.size() + kMatrix.size());
    if (is_second) {
      const std::string first = factor_name(matrix, Factor::kFirst);
      if (checkpoint.find(first) != nullptr) continue;
      base::input_error("{}: tensor {} is missing, which {} is multiplied by",
                        checkpoint.path().string(), first, name);
    }
    if (tensor.shape[0] >= tensor.shape[1]) {
      base::input_error("{}: tensor {}: expected a rank below its {} inputs, found {}",
                        checkpoint.path().string(), name, tensor.shape[1], tensor.shape[0]);
    }
    config.factor_ranks.emplace(matrix, tensor.shape[0]);
  }
}

void read_shapes(const Checkpoint& checkpoint, ModelConfig& config) {
  const std::string path = checkpoint.path().string();
  const Source channels = source_of(Extent::kChannels, kInputTable);
  config.vocab_size = read_extent(checkpoint, source_of(Extent::kVocabulary, kInputTable));
  config.n_embd = read_extent(checkpoint, channels);
  if (config.n_embd % kernels::kHeadSize != 0) {
    base::input_error("{}: tensor {}: expected a multiple of {} channels, found {}", path,
                      channels.name, kernels::kHeadSize, config.n_embd);
  }
  config.n_head = config.n_embd / kernels::kHeadSize;

  const std::set<std::size_t> rwkv = block_numbers(checkpoint, "blocks");
  // A block number beyond the number of tensors can only be a mistake, and must not size anything.
  if (rwkv.empty() || *rwkv.rbegin() >= checkpoint.tensors().size()) {
    base::input_error("{}: expected RWKV-7 blocks numbered from blocks.0 on", path);
  }
  config.n_rwkv = *rwkv.rbegin() + 1;
  config.n_sparse = count_sparse_blocks(checkpoint);
  const auto prefix_of = [](std::size_t i) { return BlockRef{BlockKind::kRwkv, i}.name() + "."; };
  for (std::size_t i = 0; i < config.n_rwkv; ++i) {
    config.low_ranks.push_back({.w = read_rank(checkpoint, Extent::kDecayRank, prefix_of(i)),
                                .a = read_rank(checkpoint, Extent::kRateRank, prefix_of(i)),
                                .v = read_rank(checkpoint, Extent::kResidualRank, prefix_of(i)),
                                .g = read_rank(checkpoint, Extent::kGateRank, prefix_of(i))});
  }
  const std::string of_heads = source_of(Extent::kHeads, kBlockTable, prefix_of(0)).name;
  const std::vector<std::size_t>& shape = matrix(checkpoint, of_heads).shape;
  if (shape != std::vector{config.n_head, kernels::kHeadSize}) {
    base::input_error("{}: tensor {}: expected shape [{}, {}] (heads of {} channels), found {}",
                      path, of_heads, config.n_head, kernels::kHeadSize, kernels::kHeadSize,
                      shape_text(shape));
  }
  config.ffn_size = read_extent(checkpoint, source_of(Extent::kHidden, kBlockTable, prefix_of(0)));
  const TensorSpec linear = first_of(kBlockTable, [](const TensorSpec& spec) {
    return storage_of(spec.role) == Storage::kLinear;
  });
  config.dtype = matrix_with(checkpoint, {prefix_of(0) + linear.name, 0}).dtype;
  read_factor_ranks(checkpoint, config);
}

/// What is known without config.json: a vocabulary file beside the checkpoint, or plain bytes.
std::string guess_tokenizer(const std::filesystem::path& folder, std::size_t vocab_size) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("rwkv_vocab") && name.ends_with(".txt"))
      found.push_back(entry.path().string());
  }
  if (found.size() == 1) return found[0];
  return vocab_size == 256 ? "bytes" : "";
}

}  // namespace

std::string_view name_of(AttentionMode mode) {
  switch (mode) {
    case AttentionMode::kMoba:
      return "moba";
    case AttentionMode::kReference:
      return "reference";
    case AttentionMode::kFull:
      return "full";
    case AttentionMode::kNone:
      return "none";
  }
  return {};
}

std::string_view name_of(ExchangeWay way) {
  switch (way) {
    case ExchangeWay::kShip:
      return "ship";
    case ExchangeWay::kGather:
      return "gather";
    case ExchangeWay::kAuto:
      return "auto";
  }
  return {};
}

std::string BlockRef::name() const {
  return fmt::format("{}.{}", kind == BlockKind::kRwkv ? "blocks" : "moba", index);
}

std::vector<BlockRef> ModelConfig::execution_order() const {
  std::vector<BlockRef> order;
  const std::size_t interval = n_sparse == 0 ? n_rwkv : n_rwkv / n_sparse;
  for (std::size_t group = 0; group < std::max<std::size_t>(n_sparse, 1); ++group) {
    for (std::size_t i = 0; i < interval; ++i)
      order.push_back({BlockKind::kRwkv, group * interval + i});
    if (n_sparse != 0) order.push_back({BlockKind::kSparse, group});
  }
  return order;
}

std::filesystem::path config_path(const Checkpoint& checkpoint) {
  return std::filesystem::absolute(checkpoint.path()).parent_path() / kConfigFile;
}

ModelConfig read_config(const Checkpoint& checkpoint) {
  ModelConfig config;
  read_shapes(checkpoint, config);
  if (const Preset* preset = checkpoint.preset()) {
    config.attention.chunk_size = preset->chunk_size;
    config.attention.top_k = preset->top_k;
    config.tokenizer = "bytes";  // random weights understand no text, but can be given some
    return config;
  }
  if (const GgufMetadata* const metadata = checkpoint.metadata()) {
    read_gguf_config(*metadata, config);
  }
  complete_config(config_path(checkpoint).parent_path(), config);
  return config;
}

void complete_config(const std::filesystem::path& folder, ModelConfig& config) {
  const std::filesystem::path path = folder / kConfigFile;
  if (std::filesystem::exists(path)) read_config_file(path, config);
  if (config.tokenizer.empty()) config.tokenizer = guess_tokenizer(folder, config.vocab_size);
}

}  // namespace longreach::model
