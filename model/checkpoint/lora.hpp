/// A LoRA: products of two factors of low rank that a fine-tuning adds to matrices of a model.
#pragma once

#include "model/checkpoint/tensor.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace longreach::model {

struct Lora {
  std::vector<std::filesystem::path> paths;        ///< That of the factors first.
  double scale = 1;                                ///< As the user has it.
  std::map<std::string, LowRankProduct> products;  ///< By the matrix's name in the file, ".weight".

  /// A hash of all products and what they belong to, the same whatever files have them.
  std::string fingerprint() const;
};

/// Reads one, and multiplies its products by `scale`. It is either
///  - a .pth, .safetensors or .st file of NAME.lora_A (r, n_in) and NAME.lora_B (n_out, r), or of
///    NAME.lora.0 (n_in, r) and NAME.lora.1 (n_out, r); the file does not say its alpha, so that
///    `scale` is alpha / r;
///  - the folder of PEFT, or its adapter_model.safetensors; adapter_config.json beside it gives
///    alpha / r or, with use_rslora, alpha / sqrt(r).
/// Errors: InputError naming file, tensor or entry, for factors without the other one, for shapes
/// that do not fit, and for other kinds of adapters.
Lora read_lora(const std::filesystem::path& path, double scale);

}  // namespace longreach::model
