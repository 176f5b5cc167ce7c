/// What files of different origins call the tensors of the model, and how they have them.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <span>
#include <string>
#include <string_view>

namespace longreach::model {

/// How a file has a tensor, beside its name.
enum class Form {
  kSame,        ///< As the model.
  kTransposed,  ///< A matrix the other way round.
  kFlatHeads,   ///< (C), where the model has (H, N).
};

/// A row of a family's table of names.
struct Naming {
  /// For example "model.layers.*.attn.w_lora.lora.0.weight". One `*` stands for any text, the same
  /// in both names.
  std::string_view in_file;
  /// As in model/schema/tensors.hpp: "blocks.*.att.w1". Of letters in braces, "att.x_{rw}", there
  /// is one tensor each, in the order of the file's leading dimension.
  std::string_view native;
  Form form = Form::kSame;
};

/// Files whose tensors are named alike.
struct Family {
  std::string_view name;    ///< As `inspect` reports it.
  std::string_view origin;  ///< Who writes such files.
  /// The first row that fits a name decides; names that none fits are the model's.
  std::span<const Naming> namings;
};

/// All families. Another one is another table.
std::span<const Family> families();

/// The family of a checkpoint with these tensors: the first one that calls one of them the
/// embedding and has most low-rank factors this way round; the first family of all if there is
/// none. `file` is the checkpoint's path, whose ending says what tensors may not. Errors:
/// InputError for a `.st` file of which nothing says how its factors lie.
const Family& family_of(const TensorMap& in_file, std::string_view file);

/// The name in the model of a tensor that a family calls `name`; that of the first of several.
std::string native_name(std::string_view name, const Family& family);

/// What a family calls a tensor of the model, for messages; its name in the model where that is all
/// that the table says.
std::string name_in_file(std::string_view native, const Family& family);

/// What the authors call a tensor in files of RWKV-X, of models that have sparse blocks.
std::string name_in_rwkv_x(std::string_view native);

/// The tensors of a checkpoint as the model has them; they stay where they are.
/// Errors: InputError naming file and tensor, for a name that is taken or empty, and for a tensor
/// that is not made of as many as the table says.
TensorMap native_tensors(TensorMap in_file, const Family& family, std::string_view file);

}  // namespace longreach::model
