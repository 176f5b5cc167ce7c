/// What decides the results of a run beside its questions or prompts, and what replicas need.
#pragma once

#include "eval/settings.hpp"
#include "launch/open_model.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::launch {

/// Without its folder, so that the same model is the same wherever it lies.
std::string model_name(const model::Checkpoint& checkpoint);

/// What activations are rounded to, where that is less than f32: where they meet weights, and where
/// they meet the cache.
std::vector<std::pair<std::string, std::string>> rounding_settings(
    const dist::EngineOptions& options);

/// The model's files are known by what they hold and compute (see eval::model_fingerprint) rather
/// than by where they lie. `bos` is the first token of texts.
eval::Settings run_settings(const OpenedModel& opened, const model::Tokenizer& tokenizer,
                            std::optional<base::TokenId> bos);

/// Errors: InputError naming --replicas.
void require_replicas(std::size_t n_replicas, std::size_t n_ranks);
/// Of a file that the leader of each replica reads: a pipe gives each of several something else.
/// Errors: InputError naming the option.
void require_readable_by_all(std::size_t n_replicas, std::string_view option,
                             const std::filesystem::path& file);

}  // namespace longreach::launch
