#include "model/packed_weights.hpp"

#include "model/checkpoint/packed_metadata.hpp"
#include "model/checkpoint/safetensors_types.hpp"
#include "model/schema/tensors.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

bool is_packed(const ListedTensor& tensor) {
  const Storage storage = storage_of(tensor.spec.role);
  return storage == Storage::kLinear || storage == Storage::kFactor;
}

std::size_t outputs_of(const ListedTensor& matrix) {
  return matrix.shape[1 - matrix.spec.input_dimension()];
}

/// The order of the file. Panels come first, which keeps them aligned, then wider numbers.
std::vector<ListedTensor> in_order(const TensorMap& tensors, const ModelConfig& config) {
  std::vector<ListedTensor> list = list_tensors(config);
  std::erase_if(list, [](const ListedTensor& tensor) { return tensor.use == Use::kNone; });
  const auto place = [&](const ListedTensor& tensor) {
    if (is_packed(tensor)) return 0;
    return tensors.at(tensor.name).dtype == base::DType::kF32 ? 1 : 2;
  };
  std::ranges::stable_sort(list, {}, place);
  return list;
}

SafetensorsEntry entry_of(const ListedTensor& listed, const Tensor& tensor,
                          const kernels::PanelLayout& layout) {
  if (!is_packed(listed)) {
    return {listed.name, safetensors_type(tensor.dtype), tensor.shape,
            tensor.size() * base::size_of(tensor.dtype)};
  }
  const std::size_t panel_bytes = layout.panel_bytes(listed.shape[listed.spec.input_dimension()]);
  const std::size_t n_panels = kernels::panel_count(outputs_of(listed));
  return {listed.name, kPanelsType, {n_panels, panel_bytes}, n_panels * panel_bytes};
}

}  // namespace

bool write_packed(base::OutputFile& file, const TensorMap& tensors, const ModelConfig& config,
                  const PackedInfo& info, kernels::ThreadPool& pool,
                  const AfterPiece& after_piece) {
  const std::vector<ListedTensor> list = in_order(tensors, config);
  PackedMetadata metadata{info, {}, {}};
  std::vector<SafetensorsEntry> entries;
  for (const ListedTensor& listed : list) {
    entries.push_back(entry_of(listed, tensors.at(listed.name), info.layout));
    metadata.checksums.emplace(listed.name, 0);
    if (is_packed(listed)) metadata.shapes.emplace(listed.name, listed.shape);
  }
  const auto header = [&metadata] {
    return SafetensorsMetadata{{std::string(kPackedMetadata), metadata.text()}};
  };
  SafetensorsWriter writer(file, std::move(entries), header(), after_piece);
  for (const ListedTensor& listed : list) {
    const Tensor& tensor = tensors.at(listed.name);
    const auto append = [&] {
      if (!is_packed(listed)) return writer.append(tensor, tensor.dtype, listed.name);
      const auto matrix = pack_outputs(tensor, storage_of(listed.spec.role),
                                       {0, outputs_of(listed)}, info.layout.format, pool);
      return writer.append(matrix.panels());
    };
    if (!append()) return false;
    metadata.checksums[listed.name] = writer.take_crc32();
  }
  writer.write_header(header());
  return true;
}

}  // namespace longreach::model
