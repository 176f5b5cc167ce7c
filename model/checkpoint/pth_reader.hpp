/// Reads the zip format of torch.save. Used by model/checkpoint/checkpoint.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace longreach::model {

/// Whether these bytes begin like a zip archive, as files of torch.save do.
bool is_torch_zip(std::span<const std::byte> bytes);

/// The tensors of a `.pth` that holds one flat dict (or OrderedDict) of name: tensor. Entries that
/// are plain values (numbers, strings, None) are skipped. Reads the directory and the pickle, whose
/// checksum is compared; the checksums of all entries are returned, except where the writer
/// computed none. `file` names it in errors. Executes nothing.
/// Errors: InputError for anything else than such a file.
/// Source: model-spec, section 6.
TensorFile read_pth(std::span<const std::byte> bytes, std::string_view file);

}  // namespace longreach::model
