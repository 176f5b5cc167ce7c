/// Sparse blocks for an RWKV-7 model, which becomes an RWKV-X one that computes the same until it
/// is trained. Used by launch/commands/convert.
#pragma once

#include "model/checkpoint/checkpoint.hpp"
#include "model/checkpoint/tensor_file.hpp"
#include "model/schema/config.hpp"

#include <cstddef>
#include <vector>

namespace longreach::model {

/// Tensors of new blocks. Move-only, as they point into it; the checkpoint must outlive it.
struct NewBlocks {
  TensorMap tensors;  ///< By their names in the model: "moba.0.ln1.weight".
  std::vector<std::vector<float>> token_shifts;  ///< What those of them lie in.
};

/// n_sparse sparse blocks after equal runs of RWKV-7 blocks. Projections (receptance, key, value)
/// and the channel mix's key are those of the block before; norms are 1 and 0; of block j the token
/// shift of channel c is 1 - (c / C)^((1 - j / L)^4), L being the number of RWKV-7 blocks. The two
/// output matrices are 0, so a block adds nothing to the residual stream.
/// Errors: InputError if the model has sparse blocks or matrices of low rank, or if n_sparse does
/// not divide the number of RWKV-7 blocks, some of which would never be executed. Source:
/// `init_moba_from_rwkv` and `MOBABlock` in pretrain/src/model.py of the authors' repository, where
/// the output matrices are copied too; that these are 0: LLaMA Pro (arXiv 2401.02415).
NewBlocks make_sparse_blocks(const Checkpoint& checkpoint, const ModelConfig& config,
                             std::size_t n_sparse);

}  // namespace longreach::model
