#include "model/weights.hpp"

#include "kernels/base/error.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "kernels/simd/isa.hpp"
#include "model/checkpoint/mapped_file.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "model/checkpoint/packed_metadata.hpp"
#include "model/schema/tensors.hpp"

namespace longreach::model {
namespace {

/// Reads the tensors of one checkpoint, of matrices a shard's outputs.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, partition::Shard shard, base::ProductFormat product,
         kernels::ThreadPool& pool)
      : checkpoint_(checkpoint), shard_(shard), product_(product), pool_(pool) {}

  /// Loads the fields that it is called with, whose names follow the prefix.
  auto visitor(const std::string& prefix, const Extents& extents) {
    return by_matrices(extents, [this, prefix, extents](auto& field, const TensorSpec& spec) {
      const std::string name = prefix + spec.name;
      load(name, checkpoint_.get(name, extents.shape(spec)), spec, extents, field);
    });
  }

 private:
  void load(const std::string& name, const Tensor& tensor, const TensorSpec&, const Extents&,
            Tensor& in_place) {
    refuse_packed(name, tensor);
    in_place = tensor;
  }

  void load(const std::string& name, const Tensor& tensor, const TensorSpec&, const Extents&,
            Vector& values) {
    refuse_packed(name, tensor);
    values.resize(tensor.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(i);
  }

  void load(const std::string& name, const Tensor& tensor, const TensorSpec& spec,
            const Extents& extents, kernels::PackedMatrix& matrix) {
    const std::size_t n_outputs = extents.n_outputs(spec), n_inputs = extents.n_inputs(spec);
    const partition::Range kept = range_of(spec.split, n_outputs, shard_);
    if (tensor.packed) {
      check_packed(name, *tensor.packed, n_outputs, n_inputs);
      matrix = in_place(tensor, kept, n_inputs);
      return;
    }
    const auto inputs =
        spec.role == Role::kMixOutput ? kernels::Inputs::kManyZero : kernels::Inputs::kAny;
    matrix = pack_outputs(tensor, storage_of(spec.role), kept, product_, pool_, inputs);
    checkpoint_.release_pages();  // or the file would be in memory beside its packed copy
  }

  void refuse_packed(const std::string& name, const Tensor& tensor) const {
    if (!tensor.packed) return;
    base::input_error("{}: tensor {}: is packed, as only matrices of products may be",
                      checkpoint_.path().string(), name);
  }

  /// Refuses panels that are not those this run would pack.
  void check_packed(const std::string& name, const PackedPanels& packed, std::size_t n_outputs,
                    std::size_t n_inputs) const {
    const std::string file = checkpoint_.path().string();
    require_format(packed.layout, product_.weights, file);
    if (!packed.layout.serves(product_)) {
      base::input_error(
          "{}: its weights are packed for {}, but this run uses {}: convert the model again for "
          "this machine",
          file, packed.layout.has_bf16_blocks ? "amx" : "instruction sets other than amx",
          kernels::active_isa());
    }
    const std::size_t expected = packed.layout.matrix_bytes(n_outputs, n_inputs);
    if (packed.n_bytes != expected) {
      base::input_error("{}: tensor {}: expected {} bytes of panels, found {}", file, name,
                        expected, packed.n_bytes);
    }
  }

  /// A shard's outputs begin at a panel: heads are two panels wide.
  kernels::PackedMatrix in_place(const Tensor& tensor, partition::Range kept,
                                 std::size_t n_inputs) const {
    static_assert(kernels::kHeadSize % kernels::kPanelCols == 0 &&
                  partition::kPanelColumns == kernels::kPanelCols);
    const kernels::PanelLayout& layout = tensor.packed->layout;
    const std::size_t first = kernels::panel_count(kept.begin) * layout.panel_bytes(n_inputs);
    const std::span panels(tensor.data + first, layout.matrix_bytes(kept.size(), n_inputs));
    advise(panels, Expected::kNow);  // or the first token would wait for each of its pages
    return {panels, kept.size(), n_inputs, layout, product_.activations};
  }

  const Checkpoint& checkpoint_;
  partition::Shard shard_;
  base::ProductFormat product_;
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

kernels::PackedMatrix pack_outputs(const Tensor& matrix, Storage storage, partition::Range outputs,
                                   base::ProductFormat product, kernels::ThreadPool& pool,
                                   kernels::Inputs inputs) {
  if (storage == Storage::kLinear) {
    return {MatrixRows(matrix, outputs, pool).rows_as_outputs(), product, pool, inputs};
  }
  const std::size_t n_inputs = matrix.shape[matrix.shape.size() - 2];
  const MatrixRows rows(matrix, {0, n_inputs}, pool);
  kernels::StridedMatrix source = rows.rows_as_inputs();
  source.data += outputs.begin * source.out_stride * size_of(source.dtype);
  source.n_out = outputs.size();
  return {source, product, pool, inputs};
}

Weights load_weights(const Checkpoint& checkpoint, const ModelConfig& config, const Part& part,
                     base::ProductFormat product, kernels::ThreadPool& pool) {
  Loader loader(checkpoint, part.shard, product, pool);
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
