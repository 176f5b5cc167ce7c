#include "model/checkpoint/lora.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/sha256.hpp"
#include "model/checkpoint/mapped_tensors.hpp"
#include "model/checkpoint/matrix_rows.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;
using nlohmann::json;

constexpr std::string_view kPeftPrefix = "base_model.model.";
constexpr std::string_view kPeftTensors = "adapter_model.safetensors";
constexpr std::string_view kPeftConfig = "adapter_config.json";
constexpr std::size_t kLargestConfig = std::size_t{1} << 20;

// ---- the files

/// How a file ends the name of a factor.
struct FactorName {
  std::string_view ending;
  bool is_first;       ///< A; else B.
  bool is_transposed;  ///< (n_in, r) or (r, n_out).
};

constexpr std::array kFactorNames = {
    FactorName{".lora_A", true, false},        FactorName{".lora_B", false, false},
    FactorName{".lora_A.weight", true, false}, FactorName{".lora_B.weight", false, false},
    FactorName{".lora.0", true, true},         FactorName{".lora.1", false, false},
};

/// What else adapters hold, by a part of its name.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kOthers = {{
    {"lora_magnitude_vector", "DoRA is not merged"},
    {"lora_embedding_", "adapters of the embedding are not merged"},
    {".disha", "Bone, DiSHA and MiSS are not merged"},
    {".bone", "Bone, DiSHA and MiSS are not merged"},
    {".miss", "Bone, DiSHA and MiSS are not merged"},
}};

[[noreturn]] void refuse_other(const std::string& file, std::string_view name) {
  const auto* const other = std::ranges::find_if(
      kOthers, [&](const auto& each) { return name.find(each.first) != name.npos; });
  input_error("{}: tensor {} is no factor of a LoRA: {}", file, name,
              other != kOthers.end() ? other->second : "whole tensors are not merged");
}

/// The two of a matrix, as far as they were found.
struct FactorPair {
  std::optional<Tensor> first, second;  ///< (r, n_in), (n_out, r)
};

std::map<std::string, FactorPair> factors_in(const MappedTensors& file) {
  std::map<std::string, FactorPair> by_matrix;
  for (const auto& [name, in_file] : file.tensors()) {
    const auto* const kind = std::ranges::find_if(
        kFactorNames,
        [&name = name](const FactorName& each) { return name.ends_with(each.ending); });
    if (kind == kFactorNames.end()) refuse_other(file.path().string(), name);
    std::string_view matrix = std::string_view(name).substr(0, name.size() - kind->ending.size());
    if (matrix.starts_with(kPeftPrefix)) matrix.remove_prefix(kPeftPrefix.size());
    FactorPair& factors = by_matrix[fmt::format("{}.weight", matrix)];
    auto& factor = kind->is_first ? factors.first : factors.second;
    if (factor) input_error("{}: tensor {}: is there twice", file.path().string(), name);
    factor = in_file;
    if (factor->shape.size() != 2) {
      input_error("{}: tensor {}: expected a matrix, found shape {}", file.path().string(), name,
                  shape_text(factor->shape));
    }
    if (!kind->is_transposed) continue;
    std::swap(factor->shape[0], factor->shape[1]);
    std::swap(factor->strides[0], factor->strides[1]);
  }
  return by_matrix;
}

std::vector<float> numbers_of(const Tensor& matrix) {
  std::vector<float> numbers(matrix.size());
  const std::size_t n_cols = matrix.shape[1];
  for (std::size_t row = 0; row < matrix.shape[0]; ++row) {
    read_row(matrix, row, std::span(numbers).subspan(row * n_cols, n_cols));
  }
  return numbers;
}

// ---- what PEFT says of them

/// How products are scaled: alpha / r, or over its root.
struct Scaling {
  double alpha;
  bool is_over_root;
  std::optional<std::size_t> rank;  ///< Of all matrices; none if they differ.

  double of(std::size_t rank) const {
    const auto r = static_cast<double>(rank);
    return alpha / (is_over_root ? std::sqrt(r) : r);
  }
};

/// Whether an entry asks for nothing.
bool is_off(const json& value) { return value.is_null() || value == false || value.empty(); }

/// Refuses what makes the sum another one.
void check_config(const json& config, const std::string& file) {
  const auto refuse = [&](const char* entry, std::string_view expected) {
    input_error("{}: {}: expected {}, found {}", file, entry, expected,
                base::json_text(config.value(entry, json())));
  };
  if (!config.is_object()) {
    input_error("{}: expected an object, found {}", file, base::json_text(config));
  }
  if (config.value("peft_type", json()) != "LORA") refuse("peft_type", "\"LORA\"");
  for (const char* const entry :
       {"use_dora", "fan_in_fan_out", "alpha_pattern", "modules_to_save", "lora_bias",
        "layer_replication", "trainable_token_indices", "alora_invocation_tokens"}) {
    if (!is_off(config.value(entry, json()))) refuse(entry, "none, as only a plain LoRA is merged");
  }
  // Others take what they begin with off the model's matrices, which no file has as they were then.
  const json start = config.value("init_lora_weights", json(true));
  if (!start.is_boolean() && start != "gaussian" && start != "eva" && start != "orthogonal") {
    refuse("init_lora_weights", "true, false, gaussian, eva or orthogonal");
  }
}

Scaling read_scaling(const std::filesystem::path& path) {
  const std::string file = path.string();
  const json config = base::parse_json(base::read_regular_file(path, kLargestConfig), file);
  check_config(config, file);
  const json alpha = config.value("lora_alpha", json()),
             root = config.value("use_rslora", json(false));
  if (!alpha.is_number()) {
    input_error("{}: lora_alpha: expected a number, found {}", file, base::json_text(alpha));
  }
  if (!root.is_boolean()) {
    input_error("{}: use_rslora: expected true or false, found {}", file, base::json_text(root));
  }
  const json rank = config.value("r", json());
  const bool is_one = is_off(config.value("rank_pattern", json())) && !rank.is_null();
  if (is_one && !rank.is_number_unsigned()) {
    input_error("{}: r: expected a whole number, found {}", file, base::json_text(rank));
  }
  return {alpha.get<double>(), root.get<bool>(),
          is_one ? std::optional(rank.get<std::size_t>()) : std::nullopt};
}

}  // namespace

std::string Lora::fingerprint() const {
  base::Sha256 hash;
  const auto add = [&hash](const auto& numbers) { hash.update(std::as_bytes(std::span(numbers))); };
  for (const auto& [name, product] : products) {
    add(fmt::format("{} {} {}\n", name, product.rank, product.scale));
    add(product.first);
    add(product.second);
  }
  return hash.hex_digest();
}

Lora read_lora(const std::filesystem::path& path, double scale) {
  std::error_code no_folder;
  const bool is_folder = std::filesystem::is_directory(path, no_folder);
  const MappedTensors file(is_folder ? path / kPeftTensors : path);
  const std::string name = file.path().string();
  Lora lora{{file.path()}, scale, {}};
  const auto by_matrix = factors_in(file);
  if (by_matrix.empty()) input_error("{}: holds no factors of a LoRA", name);
  std::optional<Scaling> scaling;
  const bool is_of_peft = std::ranges::any_of(
      file.tensors(), [](const auto& each) { return each.first.starts_with(kPeftPrefix); });
  if (is_folder || is_of_peft) {
    lora.paths.push_back(file.path().parent_path() / kPeftConfig);
    scaling = read_scaling(lora.paths.back());
  }
  for (const auto& [matrix, factors] : by_matrix) {
    if (!factors.first || !factors.second) {
      input_error("{}: the LoRA of {} has a factor {} and no {}", name, matrix,
                  factors.first ? "A" : "B", factors.first ? "B" : "A");
    }
    const std::size_t rank = factors.first->shape[0];
    if (factors.second->shape[1] != rank) {
      input_error("{}: the LoRA of {}: A has shape {}, B {}, which is another rank", name, matrix,
                  shape_text(factors.first->shape), shape_text(factors.second->shape));
    }
    if (scaling && scaling->rank.value_or(rank) != rank) {
      input_error("{}: r is {}, but the LoRA of {} has rank {}", lora.paths.back().string(),
                  *scaling->rank, matrix, rank);
    }
    const double all = scale * (scaling ? scaling->of(rank) : 1);
    if (!std::isfinite(static_cast<float>(all))) {
      input_error("{}: the LoRA of {}: expected a finite scale, found {}", name, matrix, all);
    }
    LowRankProduct product{rank, numbers_of(*factors.first), numbers_of(*factors.second),
                           static_cast<float>(all)};
    const auto is_finite = [](float number) { return std::isfinite(number); };
    if (!std::ranges::all_of(product.first, is_finite) ||
        !std::ranges::all_of(product.second, is_finite)) {
      input_error("{}: the LoRA of {} holds a number that is not finite", name, matrix);
    }
    lora.products.emplace(matrix, std::move(product));
  }
  return lora;
}

}  // namespace longreach::model
