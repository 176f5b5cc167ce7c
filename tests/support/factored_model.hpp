/// A checkpoint of which some linear layers are two factors of low rank.
#pragma once

#include "kernels/base/output_file.hpp"
#include "model/checkpoint/safetensors_writer.hpp"
#include "model/low_rank.hpp"
#include "tests/support/temp_folder.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace longreach::test {

/// Writes the preset rwkv-x-tiny with two of three layers as random factors of unlike ranks.
inline std::filesystem::path write_factored_model(const TempFolder& folder) {
  const model::Checkpoint source = model::Checkpoint::open("preset:rwkv-x-tiny");
  model::TensorMap tensors = source.tensors();
  std::size_t index = 0;
  for (const auto& layer : model::list_linear_layers(model::read_config(source))) {
    if (++index % 3 == 0) continue;
    const std::size_t rank = 3 + 2 * index;
    model::Tensor whole = tensors.extract(layer.name).mapped();
    const auto add = [&](model::Factor factor, std::vector<std::size_t> shape) {
      model::Tensor tensor = whole;
      tensor.strides = model::contiguous_strides(shape);
      tensor.shape = std::move(shape);
      tensors.emplace(model::factor_name(layer.name, factor), std::move(tensor));
    };
    add(model::Factor::kFirst, {rank, layer.shape[1]});
    add(model::Factor::kSecond, {layer.shape[0], rank});
  }
  std::vector<model::OutputTensor> outputs;
  for (const auto& [name, tensor] : tensors) outputs.push_back({name, tensor.dtype, tensor});
  const std::filesystem::path path = folder.path() / "factored.safetensors";
  base::OutputFile file(path);
  model::write_safetensors(file, outputs, [](std::size_t, std::size_t) { return true; });
  file.finish();
  return path;
}

}  // namespace longreach::test
