/// From --model to an engine: what the commands that run a model have in common.
#pragma once

#include "dist/comm/world.hpp"
#include "dist/engine/engine.hpp"
#include "launch/options/options.hpp"
#include "launch/output_files.hpp"
#include "launch/same_files.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/initial_state.hpp"
#include "model/schema/config.hpp"
#include "model/tokenizer/tokenizer.hpp"
#include "partition/memory.hpp"
#include "partition/plan.hpp"
#include "partition/sequence_room.hpp"

#include <cstddef>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace longreach::launch {

/// A checkpoint that was opened but not loaded, and how it is going to be run.
struct OpenedModel {
  model::Checkpoint checkpoint;
  model::ModelConfig config;
  dist::EngineOptions engine_options;
  partition::PlanRequest grid;           ///< Stages and shards the user asks for.
  std::optional<std::size_t> n_threads;  ///< The same; else load_engine chooses.
  std::vector<InputFile> files;          ///< What the run reads, the model's own files first.
  /// What sequences begin from, as dist::EngineOptions has it: the run's, and what a command adds.
  std::vector<model::InitialState> initial_states = {};
  partition::SequenceRoom room = {};  ///< Of the rank's replica, once the model is loaded.
};

/// The checkpoint with the LoRA, if there is one. Errors: InputError.
model::Checkpoint open_checkpoint(const std::filesystem::path& model,
                                  const std::optional<LoraOption>& lora);

/// Opens the checkpoint and completes the options from it and from the machine; takes milliseconds.
/// Errors: InputError.
OpenedModel open_model(const ModelOptions& options);

/// How weights are kept unless --weights says otherwise.
base::WeightFormat default_weights(const model::Checkpoint& checkpoint,
                                   const model::ModelConfig& config);

/// One more that sequences can begin from. Errors: InputError naming the file.
void add_initial_state(OpenedModel& opened, const std::filesystem::path& file,
                       std::optional<model::StateAxes> axes);

/// The vocabulary file of --tokenizer or, if `name` is empty, of the model; a path that is empty if
/// there is none besides the model's own files.
std::filesystem::path vocabulary_path(const OpenedModel& opened, const std::string& name);
/// What commands that run a model read and write: checkpoint, config.json and vocabulary
/// (`tokenizer` is the user's, if it is not empty), and the trace.
NamedFiles model_files(const OpenedModel& opened, const ModelOptions& options,
                       const std::string& tokenizer);

/// How many tokens a run is going to read, and how.
struct RunLength {
  std::size_t context_tokens;       ///< In all, generated ones included.
  std::size_t longest_call_tokens;  ///< In one call of the engine.
  double prompt_share;              ///< As partition::PlanRequest has it, about.
  std::string option;               ///< Which option decides this, for messages.
  /// The chunks of at most so many are in memory, the others in files; default: all.
  std::size_t tokens_in_memory = std::numeric_limits<std::size_t>::max();
};

/// What memory and plans of a run depend on, but for the number of threads.
partition::RunSizes run_sizes(const OpenedModel& opened, const RunLength& length);

/// Errors: InputError naming --attention when that mode cannot run on so many ranks.
void require_grid_fits(const model::AttentionConfig& attention, std::size_t n_ranks);

/// From a model to an engine on all ranks, or n_replicas (a divisor of their number) of them: they
/// see to it that they read the same files, describe themselves to one another, make the same plan,
/// that of their replica, bind themselves to their cores and load their parts. Completes
/// `opened.engine_options` and `opened.room`. The leader says how the model is run when asked to be
/// verbose, and warns of launches that cost speed. Collective; of `length` the leader's counts.
/// Errors: AgreedError, or InputError on a single rank: see plan_for_replica and require_alike; and
/// those of the engine.
std::unique_ptr<dist::Engine> load_engine(OpenedModel& opened, RunLength length, dist::World& world,
                                          std::size_t n_replicas = 1);

/// The tokenizer the user names or, if `name` is empty, the one that belongs to the model.
/// Errors: InputError that asks for --tokenizer if none is known.
std::unique_ptr<model::Tokenizer> open_tokenizer_of(const model::Checkpoint& checkpoint,
                                                    const model::ModelConfig& config,
                                                    const std::string& name);

}  // namespace longreach::launch
