/// What files of different origins call the tensors of the model.
#pragma once

#include "model/checkpoint/tensor.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>

namespace longreach::model {

/// A row of the table of names. One `*` stands for any text, the same in both names.
struct Naming {
  std::string_view in_file;    ///< For example "model.layers.*.attn.w_lora.lora.0.weight".
  std::string_view native;     ///< As in model/schema/tensors.hpp: "blocks.*.att.w1".
  bool is_transposed = false;  ///< Whether the file has a matrix the other way round.
};

/// The table. A naming scheme is some rows of it: one for each tensor, or for each prefix, that it
/// calls something else than the model does. The first row that fits a name decides.
inline constexpr std::array kNamings = {
    Naming{"rwkv.*", "*"},  // published RWKV-X files; their "moba." stays
};

/// A tensor under the name that the model has for it.
struct NativeTensor {
  std::string name;
  Tensor tensor;
};

/// The name in the model of a tensor that a file calls `name`; the same one if no row fits.
std::string native_name(std::string_view name, std::span<const Naming> namings = kNamings);

/// The tensor that a file calls `name`, as the model has it.
NativeTensor native_tensor(std::string_view name, Tensor tensor,
                           std::span<const Naming> namings = kNamings);

}  // namespace longreach::model
