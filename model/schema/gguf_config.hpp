/// What the metadata of a GGUF file says of its model. Used by model/schema/config.
#pragma once

#include "model/checkpoint/gguf_reader.hpp"
#include "model/schema/config.hpp"

namespace longreach::model {

/// Errors: InputError naming file and key, for files of other models than RWKV-7, for adapters, and
/// for a part of a model in several files.
void require_rwkv7(const GgufMetadata& metadata);

/// Completes a config whose sizes are the file's tensors'.
/// Errors: InputError naming file and key, for sizes that are not the tensors', and for entries
/// that ask for other mathematics than this program computes.
void read_gguf_config(const GgufMetadata& metadata, ModelConfig& config);

}  // namespace longreach::model
