#include "model/initial_state.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/sha256.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "model/checkpoint/mapped_tensors.hpp"
#include "model/checkpoint/matrix_rows.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

using kernels::kHeadSize;
using kernels::kHeadStateSize;

constexpr std::size_t kStateDigits = 16;

std::string state_name(const BlockRef& block) { return block.name() + ".att.time_state"; }

/// The matrix of a head, which keys are the rows of.
Tensor head_of(const Tensor& matrices, std::size_t head) {
  Tensor matrix = matrices;
  matrix.data += head * matrices.strides[0] * size_of(matrices.dtype);
  matrix.shape.erase(matrix.shape.begin());
  matrix.strides.erase(matrix.strides.begin());
  return matrix;
}

void read_head(const Tensor& matrices, std::size_t head, std::span<float> to) {
  const Tensor matrix = head_of(matrices, head);
  for (std::size_t key = 0; key < kHeadSize; ++key) {
    read_row(matrix, key, to.subspan(key * kHeadSize, kHeadSize));
  }
}

/// What a model of other sizes, or of another kind of state, leaves in the file.
void refuse_others(const MappedTensors& file, const ModelConfig& config) {
  std::set<std::string, std::less<>> known;
  for (std::size_t i = 0; i < config.n_rwkv; ++i) {
    known.insert(state_name({BlockKind::kRwkv, i}));
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (known.contains(name)) continue;
    base::input_error(
        "{}: tensor {} is not one of the initial state of this model, which has {} to {}",
        file.path().string(), name, state_name({BlockKind::kRwkv, 0}),
        state_name({BlockKind::kRwkv, config.n_rwkv - 1}));
  }
}

Tensor matrices_of(const BlockRef& block, const MappedTensors& file, StateAxes axes,
                   const ModelConfig& config) {
  const std::string name = state_name(block);
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) {
    base::input_error(
        "{}: tensor {} is missing: the model has {} RWKV blocks, the file states of {}",
        file.path().string(), name, config.n_rwkv, file.tensors().size());
  }
  Tensor matrices = found->second;
  const std::vector<std::size_t> expected{config.n_head, kHeadSize, kHeadSize};
  if (matrices.shape != expected) {
    base::input_error("{}: tensor {}: expected shape {}, found {}", file.path().string(), name,
                      shape_text(expected), shape_text(matrices.shape));
  }
  if (axes == StateAxes::kValueKey) std::swap(matrices.strides[1], matrices.strides[2]);
  return matrices;
}

}  // namespace

std::string_view name_of(StateAxes axes) {
  return axes == StateAxes::kKeyValue ? "key-value" : "value-key";
}

InitialState::InitialState(const std::filesystem::path& path, std::optional<StateAxes> axes,
                           const ModelConfig& config)
    : path_(path) {
  const MappedTensors file(path);
  const StateAxes in_file =
      axes.value_or(file.is_torch() ? StateAxes::kValueKey : StateAxes::kKeyValue);
  refuse_others(file, config);
  const std::vector<BlockRef> order = config.execution_order();
  base::Sha256 hash;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (order[i].kind != BlockKind::kRwkv) continue;
    const Tensor matrices = matrices_of(order[i], file, in_file, config);
    std::vector<float>& numbers = matrices_[i];
    numbers.resize(config.n_head * kHeadStateSize);
    for (std::size_t head = 0; head < config.n_head; ++head) {
      read_head(matrices, head, std::span(numbers).subspan(head * kHeadStateSize, kHeadStateSize));
    }
    if (!std::ranges::all_of(numbers, [](float number) { return std::isfinite(number); })) {
      base::input_error("{}: tensor {}: holds a number that is not finite", path.string(),
                        state_name(order[i]));
    }
    hash.update(std::as_bytes(std::span(numbers)));
  }
  fingerprint_ = hash.hex_digest().substr(0, kStateDigits);
}

void InitialState::copy_to(SequenceState& state, const Part& part, std::size_t n_head) const {
  const partition::Range heads = partition::heads_of(n_head, part.shard);
  for (const auto& [place, matrices] : matrices_) {
    if (place < part.blocks.begin || place >= part.blocks.end) continue;
    const std::span<float> wkv =
        std::get<RwkvState>(state.blocks[place - part.blocks.begin]).wkv.span();
    std::ranges::copy(
        std::span(matrices).subspan(heads.begin * kHeadStateSize, heads.size() * kHeadStateSize),
        wkv.begin());
  }
}

}  // namespace longreach::model
