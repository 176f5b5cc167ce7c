#include "model/expansion.hpp"

#include "kernels/base/error.hpp"
#include "model/schema/tensors.hpp"

#include <cmath>
#include <string>
#include <utility>

namespace longreach::model {
namespace {

void check_expansion(const Checkpoint& checkpoint, const ModelConfig& config,
                     std::size_t n_sparse) {
  const std::string file = checkpoint.path().string();
  if (config.n_sparse > 0) {
    base::input_error("{}: has {} sparse blocks, expected a model that has none", file,
                      config.n_sparse);
  }
  if (!config.factor_ranks.empty()) {
    base::input_error("{}: has matrices of low rank, expected a model that has none", file);
  }
  if (config.n_rwkv % n_sparse != 0) {
    base::input_error(
        "{}: {} sparse blocks do not follow equal runs of its {} RWKV-7 blocks: expected a divisor "
        "of {}",
        file, n_sparse, config.n_rwkv, config.n_rwkv);
  }
}

std::vector<float> token_shift(std::size_t block, const ModelConfig& config) {
  const double depth = static_cast<double>(block) / static_cast<double>(config.n_rwkv);
  const double power = std::pow(1 - depth, 4);
  std::vector<float> shift(config.n_embd);
  for (std::size_t c = 0; c < shift.size(); ++c) {
    const double place = static_cast<double>(c) / static_cast<double>(shift.size());
    shift[c] = static_cast<float>(1 - std::pow(place, power));
  }
  return shift;
}

Tensor tensor_of(std::vector<std::size_t> shape) {
  Tensor tensor;
  tensor.strides = contiguous_strides(shape);
  tensor.shape = std::move(shape);
  return tensor;
}

/// All elements are `number`.
Tensor constant(std::vector<std::size_t> shape, float number) {
  Tensor tensor = tensor_of(std::move(shape));
  tensor.dtype = base::DType::kBf16;  // as made tensors are
  tensor.made = RandomNumbers{.mean = number, .deviation = 0};
  return tensor;
}

}  // namespace

NewBlocks make_sparse_blocks(const Checkpoint& checkpoint, const ModelConfig& config,
                             std::size_t n_sparse) {
  check_expansion(checkpoint, config, n_sparse);
  const std::size_t interval = config.n_rwkv / n_sparse;
  const Extents extents(config);
  NewBlocks blocks;
  for (std::size_t j = 0; j < n_sparse; ++j) {
    const BlockRef block{BlockKind::kSparse, j};
    const BlockRef before{BlockKind::kRwkv, (j + 1) * interval - 1};
    const auto make = [&](const TensorSpec& spec) {
      std::vector<std::size_t> shape = extents.shape(spec);
      switch (spec.role) {
        case Role::kNormScale:
          return constant(std::move(shape), 1);
        case Role::kNormBias:
        case Role::kOutput:
        case Role::kMixOutput:
          return constant(std::move(shape), 0);
        case Role::kTokenShift: {
          const auto& numbers = blocks.token_shifts.emplace_back(token_shift(j, config));
          Tensor tensor = tensor_of(std::move(shape));
          tensor.data = reinterpret_cast<const std::byte*>(numbers.data());
          return tensor;
        }
        default:
          return checkpoint.get(before.name() + "." + spec.name, shape);
      }
    };
    SparseBlockWeights fields;
    visit_tensors(fields, block, [&](const auto&, const TensorSpec& spec) {
      blocks.tensors.emplace(block.name() + "." + spec.name, make(spec));
    });
  }
  return blocks;
}

}  // namespace longreach::model
