/// Models with random weights in the shapes of published ones, which need no file: what benchmarks
/// and tests of memory run. Used by model/checkpoint/checkpoint.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <cstddef>
#include <string_view>

namespace longreach::model {

/// The sizes of a model. Low ranks and the channel mix follow from them as in published models.
struct Preset {
  std::string_view name;  ///< As users write it, for example "rwkv-x-0.2b".
  std::size_t vocab_size;
  std::size_t n_embd;      ///< C
  std::size_t n_rwkv;      ///< RWKV-7 blocks.
  std::size_t n_sparse;    ///< Sparse-attention blocks.
  std::size_t chunk_size;  ///< Tokens.
  std::size_t top_k;       ///< Chunks.
  /// Whether four of five hidden numbers of a channel mix are zero, as in trained models, not half.
  bool sparse_mix = false;
};

/// The preset that a model called "preset:NAME" means; nullptr when the name begins otherwise.
/// Errors: InputError that lists the names, for an unknown NAME.
const Preset* find_preset(std::string_view model);

/// The tensors that a checkpoint of that model has, in bf16. Each number depends only on the names
/// of preset and tensor and on its place; their sizes keep activations, decays and logits in the
/// range of trained models.
TensorMap preset_tensors(const Preset& preset);

}  // namespace longreach::model
