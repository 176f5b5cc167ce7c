#include "model/schema/naming.hpp"

#include "kernels/base/error.hpp"
#include "kernels/recurrence/recurrence.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

using base::input_error;

// ---- the tables

constexpr std::array kNative = {
    Naming{"rwkv.*", "*"},  // published RWKV-X files; their "moba." stays
};

// A file of torch is converted as it is, but for the factors.
constexpr std::array kWebRwkv = {
    Naming{"blocks.*.att.w1", "blocks.*.att.w1", Form::kTransposed},
    Naming{"blocks.*.att.w2", "blocks.*.att.w2", Form::kTransposed},
    Naming{"blocks.*.att.a1", "blocks.*.att.a1", Form::kTransposed},
    Naming{"blocks.*.att.a2", "blocks.*.att.a2", Form::kTransposed},
    Naming{"blocks.*.att.v1", "blocks.*.att.v1", Form::kTransposed},
    Naming{"blocks.*.att.v2", "blocks.*.att.v2", Form::kTransposed},
    Naming{"blocks.*.att.g1", "blocks.*.att.g1", Form::kTransposed},
    Naming{"blocks.*.att.g2", "blocks.*.att.g2", Form::kTransposed},
};

constexpr std::array kTransformers = {
    Naming{"rwkv7.*", "*"},
    Naming{"model.*", "*"},  // of another branch
    Naming{"lm_head.weight", "head.weight"},
};

constexpr std::array kFla = {
    Naming{"model.embeddings.weight", "emb.weight"},
    Naming{"model.norm.*", "ln_out.*"},
    Naming{"lm_head.weight", "head.weight"},
    Naming{"model.layers.0.pre_norm.*", "blocks.0.ln0.*"},
    Naming{"model.layers.*.attn_norm.weight", "blocks.*.ln1.weight"},
    Naming{"model.layers.*.attn_norm.bias", "blocks.*.ln1.bias"},
    Naming{"model.layers.*.ffn_norm.weight", "blocks.*.ln2.weight"},
    Naming{"model.layers.*.ffn_norm.bias", "blocks.*.ln2.bias"},
    Naming{"model.layers.*.attn.x_x", "blocks.*.att.x_{rwkvag}"},  // before they were six
    Naming{"model.layers.*.attn.x_r", "blocks.*.att.x_r"},
    Naming{"model.layers.*.attn.x_w", "blocks.*.att.x_w"},
    Naming{"model.layers.*.attn.x_k", "blocks.*.att.x_k"},
    Naming{"model.layers.*.attn.x_v", "blocks.*.att.x_v"},
    Naming{"model.layers.*.attn.x_a", "blocks.*.att.x_a"},
    Naming{"model.layers.*.attn.x_g", "blocks.*.att.x_g"},
    Naming{"model.layers.*.attn.r_proj.weight", "blocks.*.att.receptance.weight"},
    Naming{"model.layers.*.attn.k_proj.weight", "blocks.*.att.key.weight"},
    Naming{"model.layers.*.attn.v_proj.weight", "blocks.*.att.value.weight"},
    Naming{"model.layers.*.attn.o_proj.weight", "blocks.*.att.output.weight"},
    Naming{"model.layers.*.attn.w_lora.lora.2.bias", "blocks.*.att.w0"},
    Naming{"model.layers.*.attn.w_lora.lora.0.weight", "blocks.*.att.w1", Form::kTransposed},
    Naming{"model.layers.*.attn.w_lora.lora.2.weight", "blocks.*.att.w2", Form::kTransposed},
    Naming{"model.layers.*.attn.a_lora.lora.2.bias", "blocks.*.att.a0"},
    Naming{"model.layers.*.attn.a_lora.lora.0.weight", "blocks.*.att.a1", Form::kTransposed},
    Naming{"model.layers.*.attn.a_lora.lora.2.weight", "blocks.*.att.a2", Form::kTransposed},
    Naming{"model.layers.*.attn.v_lora.lora.2.bias", "blocks.*.att.v0"},
    Naming{"model.layers.*.attn.v_lora.lora.0.weight", "blocks.*.att.v1", Form::kTransposed},
    Naming{"model.layers.*.attn.v_lora.lora.2.weight", "blocks.*.att.v2", Form::kTransposed},
    Naming{"model.layers.*.attn.g_lora.lora.0.weight", "blocks.*.att.g1", Form::kTransposed},
    Naming{"model.layers.*.attn.g_lora.lora.2.weight", "blocks.*.att.g2", Form::kTransposed},
    Naming{"model.layers.*.attn.k_k", "blocks.*.att.k_k"},
    Naming{"model.layers.*.attn.k_a", "blocks.*.att.k_a"},
    Naming{"model.layers.*.attn.r_k", "blocks.*.att.r_k"},
    Naming{"model.layers.*.attn.g_norm.weight", "blocks.*.att.ln_x.weight"},
    Naming{"model.layers.*.attn.g_norm.bias", "blocks.*.att.ln_x.bias"},
    Naming{"model.layers.*.ffn.x_k", "blocks.*.ffn.x_k"},
    Naming{"model.layers.*.ffn.key.weight", "blocks.*.ffn.key.weight"},
    Naming{"model.layers.*.ffn.value.weight", "blocks.*.ffn.value.weight"},
};

constexpr std::array kGguf = {
    Naming{"token_embd.weight", "emb.weight"},
    Naming{"token_embd_norm.*", "blocks.0.ln0.*"},
    Naming{"output_norm.*", "ln_out.*"},
    Naming{"output.weight", "head.weight"},
    Naming{"blk.*.attn_norm.weight", "blocks.*.ln1.weight"},
    Naming{"blk.*.attn_norm.bias", "blocks.*.ln1.bias"},
    Naming{"blk.*.attn_norm_2.weight", "blocks.*.ln2.weight"},
    Naming{"blk.*.attn_norm_2.bias", "blocks.*.ln2.bias"},
    Naming{"blk.*.time_mix_lerp_fused.weight", "blocks.*.att.x_{rwkvag}"},
    Naming{"blk.*.time_mix_receptance.weight", "blocks.*.att.receptance.weight"},
    Naming{"blk.*.time_mix_key.weight", "blocks.*.att.key.weight"},
    Naming{"blk.*.time_mix_value.weight", "blocks.*.att.value.weight"},
    Naming{"blk.*.time_mix_output.weight", "blocks.*.att.output.weight"},
    Naming{"blk.*.time_mix_w0.weight", "blocks.*.att.w0"},
    Naming{"blk.*.time_mix_w1.weight", "blocks.*.att.w1", Form::kTransposed},
    Naming{"blk.*.time_mix_w2.weight", "blocks.*.att.w2", Form::kTransposed},
    Naming{"blk.*.time_mix_a0.weight", "blocks.*.att.a0"},
    Naming{"blk.*.time_mix_a1.weight", "blocks.*.att.a1", Form::kTransposed},
    Naming{"blk.*.time_mix_a2.weight", "blocks.*.att.a2", Form::kTransposed},
    Naming{"blk.*.time_mix_v0.weight", "blocks.*.att.v0"},
    Naming{"blk.*.time_mix_v1.weight", "blocks.*.att.v1", Form::kTransposed},
    Naming{"blk.*.time_mix_v2.weight", "blocks.*.att.v2", Form::kTransposed},
    Naming{"blk.*.time_mix_g1.weight", "blocks.*.att.g1", Form::kTransposed},
    Naming{"blk.*.time_mix_g2.weight", "blocks.*.att.g2", Form::kTransposed},
    Naming{"blk.*.time_mix_k_k.weight", "blocks.*.att.k_k"},
    Naming{"blk.*.time_mix_k_a.weight", "blocks.*.att.k_a"},
    Naming{"blk.*.time_mix_r_k.weight", "blocks.*.att.r_k", Form::kFlatHeads},
    Naming{"blk.*.time_mix_ln.weight", "blocks.*.att.ln_x.weight"},
    Naming{"blk.*.time_mix_ln.bias", "blocks.*.att.ln_x.bias"},
    Naming{"blk.*.channel_mix_lerp_k.weight", "blocks.*.ffn.x_k"},
    Naming{"blk.*.channel_mix_key.weight", "blocks.*.ffn.key.weight"},
    Naming{"blk.*.channel_mix_value.weight", "blocks.*.ffn.value.weight"},
};

constexpr std::array kFamilies = {
    Family{"native", "the authors' own files", kNative},
    Family{"web-rwkv", "web-rwkv, ai00 and RWKV-Runner", kWebRwkv},
    Family{"transformers", "Hugging Face transformers", kTransformers},
    Family{"fla", "flash-linear-attention", kFla},
    Family{"gguf", "llama.cpp", kGguf},
};

// ---- names

/// What the `*` of a pattern stands for in a name; nothing if the name does not fit.
std::optional<std::string_view> match(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == name ? std::optional("") : std::nullopt;
  const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (name.size() < before.size() + after.size() || !name.starts_with(before) ||
      !name.ends_with(after)) {
    return std::nullopt;
  }
  return name.substr(before.size(), name.size() - before.size() - after.size());
}

/// What a table says of a name: the tensors' names in the model, usually one.
struct Found {
  std::vector<std::string> names;
  Form form = Form::kSame;
};

/// The names that a row of the table stands for.
std::vector<std::string> names_of(std::string_view native, std::string_view star_text) {
  std::vector<std::string> names;
  if (const std::size_t open = native.find('{'); open != native.npos) {
    const std::size_t close = native.find('}');
    for (const char letter : native.substr(open + 1, close - open - 1)) {
      names.push_back(std::string(native.substr(0, open)) + letter +
                      std::string(native.substr(close + 1)));
    }
  } else {
    names.emplace_back(native);
  }
  for (std::string& name : names) {
    if (const std::size_t star = name.find('*'); star != name.npos) {
      name.replace(star, 1, star_text);
    }
  }
  return names;
}

Found find(std::string_view name, const Family& family) {
  for (const Naming& naming : family.namings) {
    if (const auto text = match(naming.in_file, name)) {
      return {names_of(naming.native, *text), naming.form};
    }
  }
  return {{std::string(name)}};
}

// ---- which family

/// Whether a name in the model is that of a low-rank factor whose rows are inputs.
bool is_first_factor(std::string_view native) {
  return native.ends_with(".att.w1") || native.ends_with(".att.a1") ||
         native.ends_with(".att.v1") || native.ends_with(".att.g1");
}

/// How the low-rank factors of a file lie, by a family's table.
enum class Factors { kRight, kWrong, kUnknown };

/// Most of them decide, so that one of a wrong shape is refused by its shape.
Factors factors_of(const TensorMap& in_file, const Family& family, std::size_t n_channels) {
  std::size_t n_right = 0, n_wrong = 0;
  for (const auto& [name, tensor] : in_file) {
    const std::vector<std::size_t>& shape = tensor.shape;
    if (shape.size() != 2 || shape[0] == shape[1]) continue;
    const Found found = find(name, family);
    if (!is_first_factor(found.names.front())) continue;
    const bool is_right = shape[found.form == Form::kTransposed ? 1 : 0] == n_channels;
    ++(is_right ? n_right : n_wrong);
  }
  if (n_right + n_wrong == 0) return Factors::kUnknown;
  return n_right >= n_wrong ? Factors::kRight : Factors::kWrong;
}

const Tensor* find_embedding(const TensorMap& in_file, const Family& family) {
  for (const auto& [name, tensor] : in_file) {
    if (native_name(name, family) == "emb.weight") return &tensor;
  }
  return nullptr;
}

// ---- forms

Tensor in_native_form(Tensor tensor, Form form) {
  switch (form) {
    case Form::kSame:
      break;
    case Form::kTransposed:
      std::ranges::reverse(tensor.shape);
      std::ranges::reverse(tensor.strides);
      break;
    case Form::kFlatHeads:
      if (tensor.shape.size() == 1 && tensor.shape[0] % kernels::kHeadSize == 0) {
        const std::size_t stride = tensor.strides[0];
        tensor.strides = {kernels::kHeadSize * stride, stride};
        tensor.shape = {tensor.shape[0] / kernels::kHeadSize, kernels::kHeadSize};
      }
      break;
  }
  return tensor;
}

/// Part `index` along the leading dimension.
Tensor part_of(Tensor stack, std::size_t index) {
  stack.data += index * stack.strides[0] * size_of(stack.dtype);
  stack.shape.erase(stack.shape.begin());
  stack.strides.erase(stack.strides.begin());
  return stack;
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family& family_of(const TensorMap& in_file, std::string_view file) {
  for (const Family& family : kFamilies) {
    const Tensor* const embedding = find_embedding(in_file, family);
    if (embedding == nullptr || embedding->shape.size() != 2) continue;
    switch (factors_of(in_file, family, embedding->shape[1])) {
      case Factors::kRight:
        return family;
      case Factors::kWrong:
        continue;
      case Factors::kUnknown:
        if (!file.ends_with(".st")) return family;
        input_error(
            "{}: nothing says which way round its low-rank factors lie: expected one that is not "
            "square, such as blocks.0.att.w1 of shape (channels, rank) or (rank, channels)",
            file);
    }
  }
  return kFamilies.front();
}

std::string native_name(std::string_view name, const Family& family) {
  return std::move(find(name, family).names.front());
}

std::string name_in_file(std::string_view native, const Family& family) {
  for (const Naming& naming : family.namings) {
    // A row that says only a prefix fits names that have none.
    const auto text = match(naming.native, native);
    if (text && naming.native != "*") return names_of(naming.in_file, *text).front();
  }
  return std::string(native);
}

std::string name_in_rwkv_x(std::string_view native) {
  return fmt::format("{}{}", native.starts_with("moba.") ? "" : "rwkv.", native);
}

TensorMap native_tensors(TensorMap in_file, const Family& family, std::string_view file) {
  TensorMap native;
  for (auto& [name, tensor] : in_file) {
    Found found = find(name, family);
    const auto add = [&, &name = name](std::string key, Tensor value) {
      if (key.empty()) input_error("{}: tensor {}: expected a name after its prefix", file, name);
      const auto [taken, is_new] = native.emplace(std::move(key), std::move(value));
      if (!is_new) {
        input_error("{}: tensor {}: there is another one for {}", file, name, taken->first);
      }
    };
    if (found.names.size() == 1) {
      add(std::move(found.names.front()), in_native_form(std::move(tensor), found.form));
      continue;
    }
    if (tensor.blocks || tensor.shape.empty() || tensor.shape[0] != found.names.size()) {
      input_error("{}: tensor {}: expected {} vectors, {} to {}, found {} of shape {}", file, name,
                  found.names.size(), found.names.front(), found.names.back(), tensor.type_name(),
                  shape_text(tensor.shape));
    }
    for (std::size_t i = 0; i < found.names.size(); ++i) {
      add(std::move(found.names[i]), part_of(tensor, i));
    }
  }
  return native;
}

}  // namespace longreach::model
