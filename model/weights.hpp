/// The weights as the blocks use them: vectors in f32, matrices packed for the kernels. Loaded
/// once, then const.
#pragma once

#include "kernels/packed_matrix.hpp"
#include "kernels/parallel.hpp"
#include "model/checkpoint.hpp"
#include "model/config.hpp"

#include <variant>
#include <vector>

namespace longreach::model {

using Vector = std::vector<float>;

/// Layer normalisation, (C) each.
struct Norm {
  Vector weight, bias;
};

/// Channel mix (model-spec section 3); F is the hidden size.
struct ChannelMixWeights {
  Vector x_k;                   ///< (C)
  kernels::PackedMatrix key;    ///< (F, C)
  kernels::PackedMatrix value;  ///< (C, F)
};

/// Two low-rank factors and a bias: bias + f(x first) second, f being nothing, tanh or sigmoid.
struct LowRankWeights {
  Vector bias;                   ///< (C); none for the gate.
  kernels::PackedMatrix first;   ///< (rank, C), that is the stored factor transposed.
  kernels::PackedMatrix second;  ///< (C, rank), likewise.
};

/// RWKV-7 block (model-spec section 2).
struct RwkvBlockWeights {
  Norm ln1, ln2;
  Vector x_r, x_w, x_k, x_v, x_a, x_g;                   ///< (C) each: token shift.
  kernels::PackedMatrix receptance, key, value, output;  ///< (C, C) each.
  LowRankWeights decay, rate, residual, gate;  ///< w, a, v, g; the first block has no residual.
  Vector k_k, k_a, r_k;                        ///< (C) each; r_k is (H, N) in the file.
  Norm ln_x;                                   ///< Per head.
  ChannelMixWeights channel_mix;
};

/// Sparse-attention block (model-spec section 4).
struct SparseBlockWeights {
  Norm ln1, ln2;
  kernels::PackedMatrix receptance, key, value, output;  ///< (C, C) each.
  ChannelMixWeights channel_mix;
};

struct Weights {
  Tensor embedding;  ///< (V, C), read where it lies in the file: a token needs one row of it.
  Norm ln0, ln_out;
  std::vector<std::variant<RwkvBlockWeights, SparseBlockWeights>> blocks;  ///< In execution order.
  kernels::PackedMatrix head;                                              ///< (V, C)
  std::size_t size_bytes =
      0;  ///< Of everything that decoding one token reads, the embedding's row aside.
};

/// Packs the weights of the executed blocks, matrices in `format`. The checkpoint
/// must outlive the result. Errors: InputError naming file, tensor, expected and found shape;
/// std::bad_alloc.
Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config,
                     base::WeightFormat format, kernels::ThreadPool& pool);

}  // namespace longreach::model
