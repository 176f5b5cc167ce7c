/// Reads `.safetensors` files. Used by model/checkpoint/checkpoint.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace longreach::model {

/// The tensors of a `.safetensors` file: 8 bytes header length, a JSON header that gives dtype,
/// shape and byte range of each tensor, then the bytes, which the ranges must cover without gap or
/// overlap. The format has no checksums, but the metadata of packed weights have
/// (model/checkpoint/packed_metadata.hpp). `file` names it in errors.
/// Errors: InputError for anything else, and for dtypes other than BF16, F16 and F32, and U8 of
/// packed weights.
/// Source: the format's description at github.com/huggingface/safetensors.
TensorFile read_safetensors(std::span<const std::byte> bytes, std::string_view file);

}  // namespace longreach::model
