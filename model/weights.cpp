#include "model/weights.hpp"

#include "kernels/recurrence.hpp"

namespace longreach::model {
namespace {

/// Reads tensors of one checkpoint by name and shape, and counts what it read.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config, base::WeightFormat format,
         kernels::ThreadPool& pool)
      : checkpoint_(checkpoint), config_(config), format_(format), pool_(pool) {}

  std::size_t size_bytes() const { return size_bytes_; }

  Vector vector(const std::string& name) {
    return read_vector(checkpoint_.get(name, {config_.n_embd}));
  }

  Norm norm(const std::string& name) { return {vector(name + ".weight"), vector(name + ".bias")}; }

  /// A linear layer, stored (n_out, n_in).
  kernels::PackedMatrix linear(const std::string& name, std::size_t n_out, std::size_t n_in) {
    const Tensor& tensor = checkpoint_.get(name, {n_out, n_in});
    const auto [out_stride, in_stride] = matrix_strides(tensor);
    return pack({tensor.data, tensor.dtype, n_out, n_in, out_stride, in_stride});
  }

  /// A low-rank factor, stored ready for x A: (n_in, n_out).
  kernels::PackedMatrix factor(const std::string& name, std::size_t n_in, std::size_t n_out) {
    const Tensor& tensor = checkpoint_.get(name, {n_in, n_out});
    const auto [in_stride, out_stride] = matrix_strides(tensor);
    return pack({tensor.data, tensor.dtype, n_out, n_in, out_stride, in_stride});
  }

  RwkvBlockWeights rwkv_block(const BlockRef& block) {
    const std::string att = block.name() + ".att.";
    const std::size_t c = config_.n_embd;
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
    w.receptance = linear(att + "receptance.weight", c, c);
    w.key = linear(att + "key.weight", c, c);
    w.value = linear(att + "value.weight", c, c);
    w.output = linear(att + "output.weight", c, c);
    w.decay = {vector(att + "w0"), factor(att + "w1", c, ranks.w), factor(att + "w2", ranks.w, c)};
    w.rate = {vector(att + "a0"), factor(att + "a1", c, ranks.a), factor(att + "a2", ranks.a, c)};
    if (block.index != 0) {
      w.residual = {vector(att + "v0"), factor(att + "v1", c, ranks.v),
                    factor(att + "v2", ranks.v, c)};
    }
    w.gate = {{}, factor(att + "g1", c, ranks.g), factor(att + "g2", ranks.g, c)};
    w.k_k = vector(att + "k_k");
    w.k_a = vector(att + "k_a");
    w.r_k = read_vector(checkpoint_.get(att + "r_k", {config_.n_head, kernels::kHeadSize}));
    w.ln_x = norm(att + "ln_x");
    w.channel_mix = channel_mix(block);
    return w;
  }

  SparseBlockWeights sparse_block(const BlockRef& block) {
    const std::string att = block.name() + ".att.";
    const std::size_t c = config_.n_embd;
    SparseBlockWeights w;
    w.ln1 = norm(block.name() + ".ln1");
    w.ln2 = norm(block.name() + ".ln2");
    w.receptance = linear(att + "receptance.weight", c, c);
    w.key = linear(att + "key.weight", c, c);
    w.value = linear(att + "value.weight", c, c);
    w.output = linear(att + "output.weight", c, c);
    w.channel_mix = channel_mix(block);
    return w;
  }

 private:
  struct Strides {
    std::size_t row, col;
  };

  /// Strides of the last two dimensions.
  static Strides matrix_strides(const Tensor& tensor) {
    return {tensor.strides[tensor.strides.size() - 2], tensor.strides.back()};
  }

  ChannelMixWeights channel_mix(const BlockRef& block) {
    const std::string ffn = block.name() + ".ffn.";
    return {vector(ffn + "x_k"), linear(ffn + "key.weight", config_.ffn_size, config_.n_embd),
            linear(ffn + "value.weight", config_.n_embd, config_.ffn_size)};
  }

  Vector read_vector(const Tensor& tensor) {
    Vector values(tensor.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(i);
    size_bytes_ += values.size() * sizeof(float);
    return values;
  }

  kernels::PackedMatrix pack(const kernels::StridedMatrix& source) {
    kernels::PackedMatrix matrix(source, format_, pool_);
    size_bytes_ += matrix.size_bytes();
    checkpoint_.release_pages();  // or the file would be in memory beside its packed copy
    return matrix;
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  base::WeightFormat format_;
  kernels::ThreadPool& pool_;
  std::size_t size_bytes_ = 0;
};

}  // namespace

Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config,
                     base::WeightFormat format, kernels::ThreadPool& pool) {
  Loader loader(checkpoint, config, format, pool);
  Weights weights;
  // The largest matrix goes first: while it is packed, it is in memory twice.
  weights.head = loader.linear("head.weight", config.vocab_size, config.n_embd);
  weights.embedding = checkpoint.get("emb.weight", {config.vocab_size, config.n_embd});
  weights.ln0 = loader.norm("blocks.0.ln0");
  for (const BlockRef& block : config.execution_order()) {
    if (block.kind == BlockKind::kRwkv) {
      weights.blocks.emplace_back(loader.rwkv_block(block));
    } else {
      weights.blocks.emplace_back(loader.sparse_block(block));
    }
  }
  weights.ln_out = loader.norm("ln_out");
  weights.size_bytes = loader.size_bytes();
  return weights;
}

}  // namespace longreach::model
