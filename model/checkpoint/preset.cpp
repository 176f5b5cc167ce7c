#include "model/checkpoint/preset.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/printable.hpp"
#include "model/schema/tensors.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

constexpr std::string_view kPrefix = "preset:";

constexpr std::array kPresets = {
    Preset{"rwkv-x-0.2b", 65536, 768, 12, 4, 2048, 3},
    Preset{"rwkv-x-3.6b", 65536, 2560, 32, 8, 2048, 3},
    Preset{"rwkv7-0.2b", 65536, 768, 12, 0, 2048, 3},
    Preset{"rwkv7-1.5b", 65536, 2048, 24, 0, 2048, 3},
    Preset{"rwkv7-0.2b-sparse", 65536, 768, 12, 0, 2048, 3, true},
    Preset{"rwkv7-1.5b-sparse", 65536, 2048, 24, 0, 2048, 3, true},
    Preset{"rwkv-x-tiny", 256, 128, 4, 2, 64, 3},     // the demo model's shape
    Preset{"rwkv-x-narrow", 256, 192, 12, 4, 16, 3},  // as deep as 0.2b: to try grids with
};

/// A low rank of published models (model-spec section 6), for factor * n_embd^power.
std::size_t low_rank(double factor, double n_embd, double power) {
  const double ideal = factor * std::pow(n_embd, power);
  return static_cast<std::size_t>(std::max(32.0, 32 * std::round(ideal / 32)));
}

/// The sizes that published models of a preset's width and depth have.
ModelConfig config_of(const Preset& preset) {
  const auto width = static_cast<double>(preset.n_embd);
  const LowRanks low_ranks{.w = low_rank(1.8, width, 0.5),
                           .a = low_rank(1.8, width, 0.5),
                           .v = low_rank(1.3, width, 0.5),
                           .g = low_rank(0.6, width, 0.8)};
  ModelConfig config;
  config.vocab_size = preset.vocab_size;
  config.n_embd = preset.n_embd;
  config.n_head = preset.n_embd / config.head_size;
  config.ffn_size = 4 * preset.n_embd;
  config.n_rwkv = preset.n_rwkv;
  config.n_sparse = preset.n_sparse;
  config.low_ranks.assign(preset.n_rwkv, low_ranks);
  return config;
}

/// Of a vector mean and deviation; of a matrix the gain: inputs of linear layers are normalised, so
/// weights that deviate by gain / sqrt(inputs) give outputs that deviate by about `gain`.
struct Spread {
  double mean, deviation;
};

Spread spread_of(Role role) {
  // What a mix adds to the residual stream: enough to matter, little enough to keep what came
  // before.
  constexpr double kResidualGain = 0.5;
  switch (role) {
    case Role::kEmbedding:
    case Role::kProjection:
    case Role::kFirstFactor:
      return {0, 1};
    case Role::kNormScale:
    case Role::kRateScale:
      return {1, 0.1};
    case Role::kNormBias:
    case Role::kBonus:
      return {0, 0.1};
    case Role::kTokenShift:
      return {0.5, 0.2};
    case Role::kDecayBias:
      return {-3, 1.2};  // decays of 0.6 to 0.9995, half of them above 0.97
    case Role::kSigmoidBias:
    case Role::kSecondFactor:
    case Role::kRestored:
      return {0, 0.5};
    case Role::kKeyScale:
      return {0.85, 0.1};
    case Role::kQuery:
      return {0, 2};  // some rows count more than others
    case Role::kOutput:
      return {0, kResidualGain};
    case Role::kMixOutput:
      // The square of max(0, x) deviates by about 1.2 from 0 when x does by 1.
      return {0, kResidualGain / 1.2};
    case Role::kGateFactor:
      return {0, 2};  // sigmoids around 0.5 lie between
  }
  return {};
}

/// Of presets whose channel mixes are sparse: what they are given has a mean, which the key's mean
/// turns into one that lies below zero. A hidden number before its squared ReLU is then normal with
/// mean -0.77 and deviation 0.91: the mixed rows deviate by 0.76 (two normalised ones, mixed half
/// and half) around 0.5. So 80 % are zero, and the square deviates by 0.37 from it.
Spread sparse_spread_of(std::string_view name, double n_embd, const Spread& spread) {
  constexpr double kInputMean = 0.5, kHiddenMean = -0.77, kHiddenSize = 0.37, kUsualSize = 0.7;
  if (name == "ln2.bias") return {kInputMean, spread.deviation};
  // After the division by sqrt(inputs) that deviations have.
  if (name == "ffn.key.weight") return {kHiddenMean / (n_embd * kInputMean), spread.deviation};
  if (name == "ffn.value.weight") return {0, spread.deviation * kUsualSize / kHiddenSize};
  return spread;
}

Tensor made_tensor(const Preset& preset, const ListedTensor& listed) {
  Tensor tensor;
  tensor.dtype = base::DType::kBf16;
  tensor.shape = listed.shape;
  tensor.strides = contiguous_strides(listed.shape);
  Spread spread = spread_of(listed.spec.role);
  const Storage storage = storage_of(listed.spec.role);
  if (storage == Storage::kLinear || storage == Storage::kFactor) {
    const std::size_t n_inputs = listed.shape[listed.spec.input_dimension()];
    spread.deviation /= std::sqrt(static_cast<double>(n_inputs));
  }
  if (preset.sparse_mix) {
    spread = sparse_spread_of(listed.spec.name, static_cast<double>(preset.n_embd), spread);
  }
  tensor.made =
      RandomNumbers{key_of(fmt::format("{} {}", preset.name, listed.name)),
                    static_cast<float>(spread.mean), static_cast<float>(spread.deviation)};
  return tensor;
}

}  // namespace

const Preset* find_preset(std::string_view model) {
  if (!model.starts_with(kPrefix)) return nullptr;
  const std::string_view name = model.substr(kPrefix.size());
  const auto* const found = std::ranges::find(kPresets, name, &Preset::name);
  if (found == kPresets.end()) {
    std::vector<std::string_view> names;
    for (const Preset& preset : kPresets) names.push_back(preset.name);
    base::input_error("{}: there is no such preset; there are {}", printable(model),
                      fmt::join(names, ", "));
  }
  return found;
}

TensorMap preset_tensors(const Preset& preset) {
  TensorMap tensors;
  for (const ListedTensor& listed : list_tensors(config_of(preset))) {
    if (listed.use == Use::kNone) continue;
    tensors.emplace(listed.name, made_tensor(preset, listed));
  }
  return tensors;
}

}  // namespace longreach::model
