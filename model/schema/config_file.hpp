/// The config.json beside a checkpoint: this program's own, or one of transformers or of fla. Used
/// by model/schema/config.
#pragma once

#include "model/schema/config.hpp"

#include <filesystem>

namespace longreach::model {

/// Completes a config whose sizes are the checkpoint's.
/// Errors: InputError naming file and key, for what is no JSON object, for sizes that are not the
/// checkpoint's, and for entries that ask for other mathematics than this program computes.
void read_config_file(const std::filesystem::path& path, ModelConfig& config);

/// The end token of a model, by what a file says of it and of the token that begins texts.
/// Configurations of fla name tokens 2 and 1 by default, which are of other vocabularies than the
/// models': World vocabularies end a text by 0.
base::TokenId stated_end_token(std::size_t end_token, std::optional<std::size_t> begin_token);

}  // namespace longreach::model
