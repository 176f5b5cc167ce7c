/// The config.json beside a checkpoint: this program's own, or one of transformers or of fla. Used
/// by model/schema/config.
#pragma once

#include "model/schema/config.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace longreach::model {

/// Its name.
inline constexpr std::string_view kConfigFile = "config.json";

/// Completes a config whose sizes are the checkpoint's.
/// Errors: InputError naming file and key, for what is no JSON object, for sizes that are not the
/// checkpoint's, and for entries that ask for other mathematics than this program computes.
void read_config_file(const std::filesystem::path& path, ModelConfig& config);

/// The text of the config.json in a folder that gives a model of these sizes this config. A
/// vocabulary in the folder is named by its file, another one by its path. Errors: InputError for
/// one whose name JSON cannot hold.
std::string config_file_text(const ModelConfig& config, const std::filesystem::path& folder);

/// The end token of a model, by what a file says of it and of the token that begins texts.
/// Configurations of fla name tokens 2 and 1 by default, which are of other vocabularies than the
/// models': World vocabularies end a text by 0.
base::TokenId stated_end_token(std::size_t end_token, std::optional<std::size_t> begin_token);

}  // namespace longreach::model
