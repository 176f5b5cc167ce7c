/// The weights as the blocks use them: vectors in f32, matrices packed for the kernels. Loaded
/// once, then const. A rank holds the blocks of its stage, and of their matrices the rows that make
/// its shard's heads and output columns.
#pragma once

#include "kernels/matmul/packed_matrix.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/schema/config.hpp"

#include <functional>
#include <variant>
#include <vector>

namespace longreach::model {

enum class Storage;

using Vector = std::vector<float>;

/// What of a model a rank holds.
struct Part {
  partition::Range blocks;  ///< In execution order.
  partition::Shard shard;   ///< Of the stage that holds these blocks.
};

/// What a shard computes: heads, and columns of what the blocks put out.
struct ShardExtents {
  partition::Range heads, head_columns;  ///< The latter are the channels of the former.
  partition::Range channels;             ///< Of the residual stream (C).
  partition::Range hidden;               ///< Of the channel mix (F).
  partition::Range vocabulary;           ///< Of the logits (V).
};

ShardExtents shard_extents(const ModelConfig& config, partition::Shard shard);

/// Layer normalisation, (C) each.
struct Norm {
  Vector weight, bias;
};

/// A linear layer of a block: one matrix, or two factors of low rank, y = (x A^T) B^T.
struct LinearWeights {
  kernels::PackedMatrix matrix;      ///< (outputs, inputs), or B (outputs, rank); its outputs.
  kernels::PackedMatrix first = {};  ///< A (rank, inputs), its outputs; of one matrix nothing.

  /// Of a layer of so many inputs. The ranks of factors are less (schema/config).
  bool has_factors(std::size_t n_inputs) const { return matrix.n_in() != n_inputs; }
};

/// Channel mix (model-spec section 3); F is the hidden size.
struct ChannelMixWeights {
  Vector x_k;           ///< (C)
  LinearWeights key;    ///< (F, C), its hidden columns.
  LinearWeights value;  ///< (C, F), its channels.
};

/// Two low-rank factors and a bias: bias + f(x first) second, f being nothing, tanh or sigmoid.
struct LowRankWeights {
  Vector bias;                   ///< (C); none for the gate.
  kernels::PackedMatrix first;   ///< (rank, C), that is the stored factor transposed.
  kernels::PackedMatrix second;  ///< (C, rank), likewise; its heads' channels.
};

/// RWKV-7 block (model-spec section 2).
struct RwkvBlockWeights {
  Norm ln1, ln2;
  Vector x_r, x_w, x_k, x_v, x_a, x_g;         ///< (C) each: token shift.
  LinearWeights receptance, key, value;        ///< (C, C) each, its heads' channels.
  LinearWeights output;                        ///< (C, C), its channels.
  LowRankWeights decay, rate, residual, gate;  ///< w, a, v, g; the first block has no residual.
  Vector k_k, k_a, r_k;                        ///< (C) each; r_k is (H, N) in the file.
  Norm ln_x;                                   ///< Per head.
  ChannelMixWeights channel_mix;
};

/// Sparse-attention block (model-spec section 4).
struct SparseBlockWeights {
  Norm ln1, ln2;
  LinearWeights receptance, key, value;  ///< (C, C) each, its heads' channels.
  LinearWeights output;                  ///< (C, C), its channels.
  ChannelMixWeights channel_mix;
};

using BlockWeights = std::variant<RwkvBlockWeights, SparseBlockWeights>;

/// What a part needs; names and shapes are in model/schema/tensors.hpp.
struct Weights {
  Part part;
  Tensor embedding;  ///< (V, C), read where it lies in the file: a token needs one row of it.
  Norm ln0;          ///< With the first block, as the embedding.
  std::vector<BlockWeights> blocks;  ///< Those of the part.
  Norm ln_out;                       ///< With the last block, as the head.
  kernels::PackedMatrix head;        ///< (V, C), its columns of the vocabulary.

  bool has_last_block() const { return !ln_out.weight.empty(); }
};

/// Called with a run of at most kernels::kPanelCols rows of a matrix by the thread that is about to
/// read them. Must not throw.
using BeforeRows = std::function<void(partition::Range rows)>;

/// Outputs of a matrix of a checkpoint, which lies there as `storage` says, packed for `product`.
/// `before_rows` is for linear layers, whose rows are read a panel at a time.
/// Errors: std::bad_alloc; as kernels::active_isa().
kernels::PackedMatrix pack_outputs(const Tensor& matrix, Storage storage, partition::Range outputs,
                                   base::ProductFormat product, kernels::ThreadPool& pool,
                                   kernels::Inputs inputs = kernels::Inputs::kAny,
                                   const BeforeRows& before_rows = {});

/// Packs the weights of a part, matrices for `product`; those that the checkpoint has packed stay
/// where they are. Compares the checksums of all that it reads, and reads other shards' rows for
/// that alone. The checkpoint must outlive the result. Errors: InputError naming file, tensor,
/// expected and found shape, and for packed ones of another format or another instruction set;
/// naming file and entry, for another checksum; std::bad_alloc.
Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const Part& part,
                     base::ProductFormat product, kernels::ThreadPool& pool);

}  // namespace longreach::model
