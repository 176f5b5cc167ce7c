#include "model/weights.hpp"

#include "kernels/recurrence/recurrence.hpp"
#include "model/checkpoint/matrix_rows.hpp"

namespace longreach::model {
namespace {

/// Reads tensors of one checkpoint by name and shape.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config, partition::Shard shard,
         base::WeightFormat format, kernels::ThreadPool& pool)
      : checkpoint_(checkpoint),
        config_(config),
        extents_(shard_extents(config, shard)),
        format_(format),
        pool_(pool) {}

  Vector vector(const std::string& name) {
    return read_vector(checkpoint_.get(name, {config_.n_embd}));
  }

  Norm norm(const std::string& name) { return {vector(name + ".weight"), vector(name + ".bias")}; }

  kernels::PackedMatrix head() {
    return linear("head.weight", config_.vocab_size, config_.n_embd, extents_.vocabulary);
  }

  RwkvBlockWeights rwkv_block(const BlockRef& block) {
    const std::string att = block.name() + ".att.";
    const LowRanks& ranks = config_.low_ranks[block.index];
    RwkvBlockWeights w;
    w.ln1 = norm(block.name() + ".ln1");
    w.ln2 = norm(block.name() + ".ln2");
    w.x_r = vector(att + "x_r");
    w.x_w = vector(att + "x_w");
    w.x_k = vector(att + "x_k");
    w.x_v = vector(att + "x_v");
    w.x_a = vector(att + "x_a");
    w.x_g = vector(att + "x_g");
    w.receptance = to_heads(att + "receptance.weight");
    w.key = to_heads(att + "key.weight");
    w.value = to_heads(att + "value.weight");
    w.output = linear(att + "output.weight", config_.n_embd, config_.n_embd, extents_.channels);
    w.decay = low_rank(vector(att + "w0"), att + "w", ranks.w);
    w.rate = low_rank(vector(att + "a0"), att + "a", ranks.a);
    if (block.index != 0) w.residual = low_rank(vector(att + "v0"), att + "v", ranks.v);
    w.gate = low_rank({}, att + "g", ranks.g);
    w.k_k = vector(att + "k_k");
    w.k_a = vector(att + "k_a");
    w.r_k = read_vector(checkpoint_.get(att + "r_k", {config_.n_head, kernels::kHeadSize}));
    w.ln_x = norm(att + "ln_x");
    w.channel_mix = channel_mix(block);
    return w;
  }

  SparseBlockWeights sparse_block(const BlockRef& block) {
    const std::string att = block.name() + ".att.";
    SparseBlockWeights w;
    w.ln1 = norm(block.name() + ".ln1");
    w.ln2 = norm(block.name() + ".ln2");
    w.receptance = to_heads(att + "receptance.weight");
    w.key = to_heads(att + "key.weight");
    w.value = to_heads(att + "value.weight");
    w.output = linear(att + "output.weight", config_.n_embd, config_.n_embd, extents_.channels);
    w.channel_mix = channel_mix(block);
    return w;
  }

 private:
  ChannelMixWeights channel_mix(const BlockRef& block) {
    const std::string ffn = block.name() + ".ffn.";
    return {vector(ffn + "x_k"),
            linear(ffn + "key.weight", config_.ffn_size, config_.n_embd, extents_.hidden),
            linear(ffn + "value.weight", config_.n_embd, config_.ffn_size, extents_.channels)};
  }

  /// The own heads' outputs of a linear layer, stored (C, C).
  kernels::PackedMatrix to_heads(const std::string& name) {
    return linear(name, config_.n_embd, config_.n_embd, extents_.head_columns);
  }

  /// Outputs `kept` of a linear layer, stored (n_out, n_in).
  kernels::PackedMatrix linear(const std::string& name, std::size_t n_out, std::size_t n_in,
                               partition::Range kept) {
    const Tensor& tensor = checkpoint_.get(name, {n_out, n_in});
    return pack(MatrixRows(tensor, kept, pool_).rows_as_outputs());
  }

  /// Factors `name`1, whole, and `name`2, of which the own heads' outputs.
  LowRankWeights low_rank(Vector bias, const std::string& name, std::size_t rank) {
    return {std::move(bias), factor(name + "1", config_.n_embd, rank, {0, rank}),
            factor(name + "2", rank, config_.n_embd, extents_.head_columns)};
  }

  /// Outputs `kept` of a low-rank factor, stored ready for x A: (n_in, n_out).
  kernels::PackedMatrix factor(const std::string& name, std::size_t n_in, std::size_t n_out,
                               partition::Range kept) {
    const Tensor& tensor = checkpoint_.get(name, {n_in, n_out});
    const MatrixRows rows(tensor, {0, n_in}, pool_);
    kernels::StridedMatrix source = rows.rows_as_inputs();
    source.data += kept.begin * source.out_stride * size_of(source.dtype);
    source.n_out = kept.size();
    return pack(source);
  }

  Vector read_vector(const Tensor& tensor) {
    Vector values(tensor.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(i);
    return values;
  }

  kernels::PackedMatrix pack(const kernels::StridedMatrix& source) {
    kernels::PackedMatrix matrix(source, format_, pool_);
    checkpoint_.release_pages();  // or the file would be in memory beside its packed copy
    return matrix;
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  ShardExtents extents_;
  base::WeightFormat format_;
  kernels::ThreadPool& pool_;
};

}  // namespace

ShardExtents shard_extents(const ModelConfig& config, partition::Shard shard) {
  const partition::Range heads = partition::heads_of(config.n_head, shard);
  return {.heads = heads,
          .head_columns = {heads.begin * kernels::kHeadSize, heads.end * kernels::kHeadSize},
          .channels = partition::columns_of(config.n_embd, shard),
          .hidden = partition::columns_of(config.ffn_size, shard),
          .vocabulary = partition::columns_of(config.vocab_size, shard)};
}

Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const Part& part,
                     base::WeightFormat format, kernels::ThreadPool& pool) {
  Loader loader(checkpoint, config, part.shard, format, pool);
  const std::vector<BlockRef> order = config.execution_order();
  Weights weights;
  weights.part = part;
  if (part.blocks.end == order.size()) {
    // The largest matrix goes first: while it is packed, it is in memory twice.
    weights.head = loader.head();
    weights.ln_out = loader.norm("ln_out");
  }
  if (part.blocks.begin == 0) {
    weights.embedding = checkpoint.get("emb.weight", {config.vocab_size, config.n_embd});
    weights.ln0 = loader.norm("blocks.0.ln0");
  }
  for (std::size_t i = part.blocks.begin; i < part.blocks.end; ++i) {
    if (order[i].kind == BlockKind::kRwkv) {
      weights.blocks.emplace_back(loader.rwkv_block(order[i]));
    } else {
      weights.blocks.emplace_back(loader.sparse_block(order[i]));
    }
  }
  return weights;
}

}  // namespace longreach::model
