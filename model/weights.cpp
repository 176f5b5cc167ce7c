#include "model/weights.hpp"

#include "kernels/base/error.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "kernels/simd/isa.hpp"
#include "model/checkpoint/checksum.hpp"
#include "model/checkpoint/mapped_file.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "model/checkpoint/packed_metadata.hpp"
#include "model/schema/tensors.hpp"

#include <functional>
#include <map>
#include <vector>

namespace longreach::model {
namespace {

/// The parts of a checkpoint with checksums that nothing has compared yet.
class Unchecked {
 public:
  explicit Unchecked(const Checkpoint& checkpoint) {
    for (const ChecksummedRange& range : checkpoint.checksums()) {
      ranges_.emplace(range.data.data(), &range);
    }
  }

  /// The part that a tensor lies in, once; or nullptr.
  const ChecksummedRange* take(const Tensor& tensor) {
    auto range = ranges_.upper_bound(tensor.data);
    if (range == ranges_.begin()) return nullptr;
    --range;
    const std::span<const std::byte> data = range->second->data;
    if (tensor.data >= data.data() + data.size()) return nullptr;
    return ranges_.extract(range).mapped();
  }

 private:
  std::map<const std::byte*, const ChecksummedRange*> ranges_;
};

/// Whether a part of a file is the rows of a matrix, one after the other.
bool are_rows_of(std::span<const std::byte> data, const Tensor& matrix) {
  return matrix.is_contiguous() && !matrix.blocks && data.data() == matrix.data &&
         data.size() == matrix.stored_bytes();
}

/// Reads the tensors of one checkpoint, of matrices a shard's outputs.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, partition::Shard shard, base::ProductFormat product,
         kernels::ThreadPool& pool)
      : checkpoint_(checkpoint),
        unchecked_(checkpoint),
        shard_(shard),
        product_(product),
        pool_(pool) {}

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
    check(tensor);
    checkpoint_.release_pages();
    in_place = tensor;
  }

  void load(const std::string& name, const Tensor& tensor, const TensorSpec&, const Extents&,
            Vector& values) {
    refuse_packed(name, tensor);
    check(tensor);
    values.resize(tensor.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(i);
  }

  void load(const std::string& name, const Tensor& tensor, const TensorSpec& spec,
            const Extents& extents, kernels::PackedMatrix& matrix) {
    const std::size_t n_outputs = extents.n_outputs(spec), n_inputs = extents.n_inputs(spec);
    const partition::Range kept = range_of(spec.split, n_outputs, shard_);
    if (tensor.packed) {
      check_packed(name, *tensor.packed, n_outputs, n_inputs);
      check(tensor);
      if (kept.size() != n_outputs) {  // other shards' panels
        advise({tensor.data, tensor.stored_bytes()}, Expected::kLater);
      }
      matrix = in_place(tensor, kept, n_inputs);
      return;
    }
    const auto inputs =
        spec.role == Role::kMixOutput ? kernels::Inputs::kManyZero : kernels::Inputs::kAny;
    const Storage storage = storage_of(spec.role);
    const ChecksummedRange* const range = unchecked_.take(tensor);
    if (range != nullptr && storage == Storage::kLinear && are_rows_of(range->data, tensor)) {
      RowChecksums checksums(*range, n_outputs, kept, kernels::kPanelCols);
      matrix = pack_outputs(tensor, storage, kept, product_, pool_, inputs,
                            [&](partition::Range rows) { checksums.read(rows); });
      checksums.compare(pool_);
    } else {
      if (range != nullptr) check_crc32(*range, pool_);
      matrix = pack_outputs(tensor, storage, kept, product_, pool_, inputs);
    }
    checkpoint_.release_pages();  // or the file would be in memory beside its packed copy
  }

  /// Compares the checksum of what a tensor lies in, if nothing has.
  void check(const Tensor& tensor) {
    if (const ChecksummedRange* const range = unchecked_.take(tensor)) check_crc32(*range, pool_);
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
  Unchecked unchecked_;
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
                                   kernels::Inputs inputs, const BeforeRows& before_rows) {
  if (storage != Storage::kLinear) {
    const std::size_t n_inputs = matrix.shape[matrix.shape.size() - 2];
    MatrixRows rows(matrix, n_inputs);
    const kernels::StridedMatrix all = rows.read({0, n_inputs}).transposed();
    return {all.outputs(outputs.begin, outputs.size()), product, pool, inputs};
  }
  std::vector<MatrixRows> rows_of_worker;
  for (std::size_t worker = 0; worker < pool.size(); ++worker) {
    rows_of_worker.emplace_back(matrix, kernels::kPanelCols);
  }
  const auto read_outputs = [&](std::size_t first, std::size_t count, std::size_t worker) {
    const partition::Range rows{outputs.begin + first, outputs.begin + first + count};
    if (before_rows) before_rows(rows);
    return rows_of_worker[worker].read(rows);
  };
  return {outputs.size(), matrix.shape.back(), read_outputs, product, pool, inputs};
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
