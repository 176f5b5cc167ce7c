/// From --model to an engine: what the commands that run a model have in common.
#pragma once

#include "dist/engine.hpp"
#include "launch/options.hpp"
#include "model/checkpoint.hpp"
#include "model/config.hpp"
#include "model/tokenizer.hpp"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

namespace longreach::launch {

/// A checkpoint that was opened but not loaded, and how it is going to be run.
struct OpenedModel {
  model::Checkpoint checkpoint;
  model::ModelConfig config;
  dist::EngineOptions engine_options;
};

/// Opens the checkpoint and completes the options from it and from the machine; takes milliseconds.
/// Errors: InputError.
OpenedModel open_model(const ModelOptions& options);

/// Loads the weights, if memory suffices for them and for a sequence of n_tokens; says how it runs
/// when asked to be verbose. Errors: InputError naming --model when the weights alone are too
/// large, else `length_option`; and those of the engine.
dist::Engine load_engine(const OpenedModel& opened, std::size_t n_tokens,
                         const std::string& length_option);

/// The tokenizer the user names or, if `name` is empty, the one that belongs to the model.
/// Errors: InputError that asks for --tokenizer if none is known.
std::unique_ptr<model::Tokenizer> open_tokenizer_of(const model::Checkpoint& checkpoint,
                                                    const model::ModelConfig& config,
                                                    const std::string& name);

}  // namespace longreach::launch
