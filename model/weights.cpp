#include "model/weights.hpp"

#include "kernels/recurrence/recurrence.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "model/schema/tensors.hpp"

namespace longreach::model {
namespace {

/// Reads the tensors of one checkpoint, of matrices a shard's outputs.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, partition::Shard shard, base::WeightFormat format,
         kernels::ThreadPool& pool)
      : checkpoint_(checkpoint), shard_(shard), format_(format), pool_(pool) {}

  /// Loads the fields that it is called with, whose names follow the prefix.
  auto visitor(const std::string& prefix, const Extents& extents) {
    return [this, prefix, extents](auto& field, const TensorSpec& spec) {
      const std::string name = prefix + std::string(spec.name);
      load(checkpoint_.get(name, extents.shape(spec)), spec, extents, field);
    };
  }

 private:
  static void load(const Tensor& tensor, const TensorSpec&, const Extents&, Tensor& in_place) {
    in_place = tensor;
  }

  static void load(const Tensor& tensor, const TensorSpec&, const Extents&, Vector& values) {
    values.resize(tensor.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(i);
  }

  void load(const Tensor& tensor, const TensorSpec& spec, const Extents& extents,
            kernels::PackedMatrix& matrix) {
    const partition::Range kept = range_of(spec.split, extents.n_outputs(spec), shard_);
    if (storage_of(spec.role) == Storage::kFactor) {
      const MatrixRows rows(tensor, {0, extents.n_inputs(spec)}, pool_);
      kernels::StridedMatrix source = rows.rows_as_inputs();
      source.data += kept.begin * source.out_stride * size_of(source.dtype);
      source.n_out = kept.size();
      matrix = kernels::PackedMatrix(source, format_, pool_);
    } else {
      const auto inputs =
          spec.role == Role::kMixOutput ? kernels::Inputs::kManyZero : kernels::Inputs::kAny;
      matrix = {MatrixRows(tensor, kept, pool_).rows_as_outputs(), format_, pool_, inputs};
    }
    checkpoint_.release_pages();  // or the file would be in memory beside its packed copy
  }

  const Checkpoint& checkpoint_;
  partition::Shard shard_;
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
  Loader loader(checkpoint, part.shard, format, pool);
  const std::vector<BlockRef> order = config.execution_order();
  Weights weights;
  weights.part = part;
  if (part.blocks.end == order.size()) {
    visit_output_tensors(weights, loader.visitor("", Extents(config)));
  }
  if (part.blocks.begin == 0) visit_input_tensors(weights, loader.visitor("", Extents(config)));
  for (std::size_t i = part.blocks.begin; i < part.blocks.end; ++i) {
    BlockWeights& block = weights.blocks.emplace_back(empty_block(order[i].kind));
    visit_tensors(block, order[i],
                  loader.visitor(order[i].name() + ".", Extents(config, order[i])));
  }
  return weights;
}

}  // namespace longreach::model
