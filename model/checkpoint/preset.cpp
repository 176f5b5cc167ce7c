#include "model/checkpoint/preset.hpp"

#include "kernels/base/error.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "model/checkpoint/printable.hpp"

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
    Preset{"rwkv-x-tiny", 256, 128, 4, 2, 64, 3},     // the demo model's shape
    Preset{"rwkv-x-narrow", 256, 192, 12, 4, 16, 3},  // as deep as 0.2b: to try grids with
};

/// A low rank of published models (model-spec section 6), for factor * n_embd^power.
std::size_t low_rank(double factor, double n_embd, double power) {
  const double ideal = factor * std::pow(n_embd, power);
  return static_cast<std::size_t>(std::max(32.0, 32 * std::round(ideal / 32)));
}

/// Lists tensors with the spread that their numbers need. Inputs of linear layers are normalised,
/// so a layer whose weights deviate by gain / sqrt(inputs) gives outputs that deviate by about
/// `gain`.
class TensorList {
 public:
  explicit TensorList(const Preset& preset) : preset_(preset) {}

  TensorMap all() {
    const std::size_t c = preset_.n_embd, vocabulary = preset_.vocab_size;
    add("emb.weight", {vocabulary, c}, 0, 1);
    norm("blocks.0.ln0");
    for (std::size_t i = 0; i < preset_.n_rwkv; ++i) rwkv_block(i);
    for (std::size_t j = 0; j < preset_.n_sparse; ++j) sparse_block(j);
    norm("ln_out");
    linear("head.weight", vocabulary, c, 1);
    return std::move(tensors_);
  }

 private:
  /// What a mix adds to the residual stream: enough to matter, little enough to keep what came
  /// before.
  static constexpr double kResidualGain = 0.5;

  void add(const std::string& name, std::vector<std::size_t> shape, double mean, double deviation) {
    Tensor tensor;
    tensor.dtype = base::DType::kBf16;
    tensor.strides.assign(shape.size(), 1);
    for (std::size_t i = shape.size() - 1; i > 0; --i) {
      tensor.strides[i - 1] = tensor.strides[i] * shape[i];
    }
    tensor.shape = std::move(shape);
    tensor.made = RandomNumbers{key_of(fmt::format("{} {}", preset_.name, name)),
                                static_cast<float>(mean), static_cast<float>(deviation)};
    tensors_.emplace(name, std::move(tensor));
  }

  void vector(const std::string& name, double mean, double deviation) {
    add(name, {1, 1, preset_.n_embd}, mean, deviation);
  }

  void norm(const std::string& name) {
    add(name + ".weight", {preset_.n_embd}, 1, 0.1);
    add(name + ".bias", {preset_.n_embd}, 0, 0.1);
  }

  void linear(const std::string& name, std::size_t n_out, std::size_t n_in, double gain) {
    add(name, {n_out, n_in}, 0, gain / std::sqrt(static_cast<double>(n_in)));
  }

  /// Two low-rank factors, stored ready for x first second.
  void low_rank_pair(const std::string& name, std::size_t rank, double gain) {
    const std::size_t c = preset_.n_embd;
    add(name + "1", {c, rank}, 0, 1 / std::sqrt(static_cast<double>(c)));
    add(name + "2", {rank, c}, 0, gain / std::sqrt(static_cast<double>(rank)));
  }

  void channel_mix(const std::string& block) {
    const std::size_t c = preset_.n_embd;
    vector(block + ".ffn.x_k", 0.5, 0.2);
    linear(block + ".ffn.key.weight", 4 * c, c, 1);
    // The square of max(0, x) deviates by about 1.2 from 0 when x does by 1.
    linear(block + ".ffn.value.weight", c, 4 * c, kResidualGain / 1.2);
  }

  void rwkv_block(std::size_t index) {
    const std::string block = fmt::format("blocks.{}", index), att = block + ".att.";
    const std::size_t c = preset_.n_embd;
    const auto width = static_cast<double>(c);
    norm(block + ".ln1");
    norm(block + ".ln2");
    for (const std::string_view x : {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g"}) {
      vector(att + std::string(x), 0.5, 0.2);
    }
    vector(att + "w0", -3, 1.2);  // decays of 0.6 to 0.9995, half of them above 0.97
    low_rank_pair(att + "w", low_rank(1.8, width, 0.5), 0.5);
    vector(att + "a0", 0, 0.5);
    low_rank_pair(att + "a", low_rank(1.8, width, 0.5), 0.5);
    if (index != 0) {
      vector(att + "v0", 0, 0.5);
      low_rank_pair(att + "v", low_rank(1.3, width, 0.5), 0.5);
    }
    low_rank_pair(att + "g", low_rank(0.6, width, 0.8), 2);  // sigmoids around 0.5 lie between
    vector(att + "k_k", 0.85, 0.1);
    vector(att + "k_a", 1, 0.1);
    add(att + "r_k", {c / kernels::kHeadSize, kernels::kHeadSize}, 0, 0.1);
    linear(att + "receptance.weight", c, c, 1);
    linear(att + "key.weight", c, c, 1);
    linear(att + "value.weight", c, c, 1);
    linear(att + "output.weight", c, c, kResidualGain);
    norm(att + "ln_x");
    channel_mix(block);
  }

  void sparse_block(std::size_t index) {
    const std::string block = fmt::format("moba.{}", index), att = block + ".att.";
    const std::size_t c = preset_.n_embd;
    norm(block + ".ln1");
    norm(block + ".ln2");
    linear(att + "receptance.weight", c, c, 2);  // some rows count more than others
    linear(att + "key.weight", c, c, 1);
    linear(att + "value.weight", c, c, 1);
    linear(att + "output.weight", c, c, kResidualGain);
    channel_mix(block);
  }

  const Preset& preset_;
  TensorMap tensors_;
};

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

TensorMap preset_tensors(const Preset& preset) { return TensorList(preset).all(); }

}  // namespace longreach::model
