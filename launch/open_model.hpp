/// From --model to an engine: what the commands that run a model have in common.
#pragma once

#include "dist/engine.hpp"
#include "dist/world.hpp"
#include "launch/options.hpp"
#include "model/checkpoint.hpp"
#include "model/config.hpp"
#include "model/tokenizer.hpp"
#include "partition/memory.hpp"
#include "partition/plan.hpp"

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
  partition::PlanRequest grid;  ///< Stages and shards the user asks for.
};

/// Opens the checkpoint and completes the options from it and from the machine; takes milliseconds.
/// Errors: InputError.
OpenedModel open_model(const ModelOptions& options);

/// How many tokens a run is going to read.
struct RunLength {
  std::size_t context_tokens;       ///< In all, generated ones included.
  std::size_t longest_call_tokens;  ///< In one call of the engine.
  std::string option;               ///< Which option decides this, for messages.
};

/// What memory and plans of such a run depend on.
partition::RunSizes run_sizes(const OpenedModel& opened, const RunLength& length);

/// Loads the weights, if memory suffices for the whole run; says how it runs when asked to be
/// verbose. Collective: all ranks, of which the leader's length counts. Errors: AgreedError, or
/// InputError naming --model when a run of no tokens would not fit, else the option that decides
/// the length; and those of the engine.
std::unique_ptr<dist::Engine> load_engine(const OpenedModel& opened, RunLength length,
                                          dist::World& world);

/// The tokenizer the user names or, if `name` is empty, the one that belongs to the model.
/// Errors: InputError that asks for --tokenizer if none is known.
std::unique_ptr<model::Tokenizer> open_tokenizer_of(const model::Checkpoint& checkpoint,
                                                    const model::ModelConfig& config,
                                                    const std::string& name);

}  // namespace longreach::launch
