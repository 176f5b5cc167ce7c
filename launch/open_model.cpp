#include "launch/open_model.hpp"

#include "dist/comm/gather_texts.hpp"
#include "dist/comm/machine_report.hpp"
#include "kernels/base/error.hpp"
#include "launch/launch_check.hpp"
#include "launch/machine/binding.hpp"
#include "launch/machine/core_share.hpp"
#include "launch/machine/machine.hpp"
#include "launch/message_log.hpp"
#include "launch/run_plan.hpp"
#include "model/checkpoint/packed_metadata.hpp"
#include "model/run_sizes.hpp"
#include "model/schema/tensors.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>
#include <vector>

namespace longreach::launch {
namespace {

void set_up_log(Verbosity verbosity) {
  const auto log = message_log("longreach");
  log->set_pattern(fmt::format("[%T] [{}] [%l] %v", dist::host_name()));
  log->set_level(verbosity == Verbosity::kInfo ? spdlog::level::info : spdlog::level::warn);
  spdlog::set_default_logger(log);
}

dist::EngineOptions engine_options(const ModelOptions& options, const model::Checkpoint& checkpoint,
                                   const model::ModelConfig& config) {
  dist::EngineOptions engine;
  engine.attention = resolve_attention(options.attention, config.attention);
  engine.weights = options.weights.value_or(default_weights(checkpoint, config));
  engine.activations = options.activations;
  if (const base::ProductFormat product(engine.weights, engine.activations);
      std::ranges::find(base::kProductFormats, product) == std::end(base::kProductFormats)) {
    base::input_error("--activations {0}: expected {0} weights{1}, found {2}",
                      base::name_of(product.activations),
                      product.activations == base::Activations::kInt8 ? " or int4 ones" : "",
                      base::name_of(product.weights));
  }
  if (options.trace) {
    engine.recording = dist::Recording::kSpans;
  } else if (options.verbosity == Verbosity::kInfo) {
    engine.recording = dist::Recording::kTotals;
  }
  return engine;
}

/// What must be the same on all ranks, for a message when it is not.
std::string run_text(const OpenedModel& opened, std::size_t n_replicas) {
  const model::ModelConfig& config = opened.config;
  const auto given = [](std::optional<std::size_t> number) { return number.value_or(0); };
  return fmt::format(
      "version {}, {} + {} blocks of {} channels, {} heads and {} tokens, weights {}, "
      "activations {}, {}, {} x grid {} x {}, {} threads",
      LONGREACH_VERSION, config.n_rwkv, config.n_sparse, config.n_embd, config.n_head,
      config.vocab_size, base::name_of(opened.engine_options.weights),
      base::name_of(opened.engine_options.activations),
      attention_text(opened.engine_options.attention), n_replicas, given(opened.grid.n_stages),
      given(opened.grid.n_shards), given(opened.n_threads));
}

/// What the leader gives goes to everybody.
void share_length(RunLength& length, dist::Communicator& world) {
  const auto share = [&world](auto& number) {
    world.broadcast(std::as_writable_bytes(std::span(&number, 1)), 0);
  };
  share(length.context_tokens);
  share(length.longest_call_tokens);
  share(length.prompt_share);
  share(length.tokens_in_memory);
}

RunRequest run_request(const OpenedModel& opened, const RunLength& length, std::size_t n_replicas) {
  partition::PlanRequest grid = opened.grid;
  grid.prompt_share = length.prompt_share;
  return {.sizes =
              [&](std::size_t context_tokens) {
                RunLength shorter = length;
                shorter.context_tokens = context_tokens;
                return run_sizes(opened, shorter);
              },
          .context_tokens = length.context_tokens,
          .model = opened.checkpoint.path().string(),
          .option = length.option,
          .grid = grid,
          .n_threads = opened.n_threads.value_or(0),
          .n_replicas = n_replicas};
}

/// Ranks of unlike builds may plan differently from the same data.
void require_one_layout(const partition::Layout& layout, dist::Communicator& world) {
  const std::vector<std::string> layouts = dist::gather_texts(world, layout_text(layout));
  const std::size_t n_ranks = layout.grid.n_ranks();
  for (std::size_t rank = 0; rank < layouts.size(); ++rank) {
    const std::size_t leader = rank / n_ranks * n_ranks;
    if (layouts[rank] == layouts[leader]) continue;
    base::input_error("rank {} plans {}, rank {} {}: do all nodes run one build?", rank,
                      layouts[rank], leader, layouts[leader]);
  }
}

/// Logs how the job runs: a line for each rank, in order of ranks, with what each says of itself.
void log_run(const partition::Grid& grid, const OpenedModel& opened,
             std::span<const dist::MachineReport> reports, std::span<const CoreShare> shares,
             std::span<const std::string> ranks) {
  for (const Finding& finding : check_launch(reports, shares)) {
    const bool warns = finding.weight == Finding::Weight::kWarning;
    spdlog::log(warns ? spdlog::level::warn : spdlog::level::info, "{}", finding.text);
  }
  const dist::EngineOptions& options = opened.engine_options;
  const std::size_t n_replicas = reports.size() / grid.n_ranks();
  spdlog::info(
      "instruction set {}, weights {}, activations {}, kv {}, ranks {} = {}stages {} x shards {}, "
      "nodes {}",
      reports.front().isa, base::name_of(options.weights), base::name_of(options.activations),
      base::name_of(options.attention.kv), reports.size(),
      n_replicas > 1 ? fmt::format("replicas {} x ", n_replicas) : "", grid.n_stages, grid.n_shards,
      ranks_of_hosts(reports).size());
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    spdlog::info("rank {} on {}: {}", rank, reports[rank].host, ranks[rank]);
  }
}

}  // namespace

model::Checkpoint open_checkpoint(const std::filesystem::path& model,
                                  const std::optional<LoraOption>& lora) {
  model::Checkpoint checkpoint = model::Checkpoint::open(model);
  if (lora) checkpoint.merge(model::read_lora(lora->path, lora->scale));
  return checkpoint;
}

OpenedModel open_model(const ModelOptions& options) {
  set_up_log(options.verbosity);
  model::Checkpoint checkpoint = open_checkpoint(options.model, options.lora);
  model::ModelConfig config = model::read_config(checkpoint);
  model::check_tensors(checkpoint, config);
  if (checkpoint.packed() != nullptr && options.weights) {
    model::require_format(checkpoint.packed()->layout, *options.weights,
                          checkpoint.path().string());
  }
  const dist::EngineOptions engine = engine_options(options, checkpoint, config);
  std::vector<InputFile> files;
  for (const auto& path : checkpoint.paths()) {
    files.push_back({path, InputFile::Readers::kAll});
  }
  if (checkpoint.lora() != nullptr) {
    for (const auto& path : checkpoint.lora()->paths) {
      files.push_back({path, InputFile::Readers::kAll});
    }
  }
  if (checkpoint.preset() == nullptr) {
    files.push_back({model::config_path(checkpoint), InputFile::Readers::kAll});
  }
  OpenedModel opened{
      std::move(checkpoint), std::move(config), engine, {{}, options.n_stages, options.n_shards},
      options.n_threads,     std::move(files)};
  if (options.state) {
    add_initial_state(opened, *options.state, options.state_axes);
  } else {
    opened.initial_states.emplace_back();
  }
  return opened;
}

void add_initial_state(OpenedModel& opened, const std::filesystem::path& file,
                       std::optional<model::StateAxes> axes) {
  opened.initial_states.emplace_back(file, axes, opened.config);
  opened.files.push_back({file, InputFile::Readers::kAll});
}

base::WeightFormat default_weights(const model::Checkpoint& checkpoint,
                                   const model::ModelConfig& config) {
  if (checkpoint.packed() != nullptr) return checkpoint.packed()->layout.format;
  return config.dtype == base::DType::kBf16 ? base::WeightFormat::kBf16 : base::WeightFormat::kF32;
}

std::filesystem::path vocabulary_path(const OpenedModel& opened, const std::string& name) {
  const std::string& vocabulary = name.empty() ? opened.config.tokenizer : name;
  const bool is_in_model = vocabulary == opened.checkpoint.path().string();
  return is_in_model || vocabulary == model::kBytesTokenizer ? "" : vocabulary;
}

NamedFiles model_files(const OpenedModel& opened, const ModelOptions& options,
                       const std::string& tokenizer) {
  NamedFiles files;
  for (const std::filesystem::path& file : opened.checkpoint.paths()) {
    files.add_input("--model", file);
    files.add_input("the model's config.json", file.parent_path() / "config.json");
  }
  if (const model::Lora* const lora = opened.checkpoint.lora()) {
    for (const std::filesystem::path& file : lora->paths) files.add_input("--lora", file);
  }
  files.add_input("the vocabulary", vocabulary_path(opened, tokenizer));
  for (const model::InitialState& state : opened.initial_states) {
    if (!state.path().empty()) files.add_input("an initial state", state.path());
  }
  files.add_output("--trace", options.trace);
  return files;
}

partition::RunSizes run_sizes(const OpenedModel& opened, const RunLength& length) {
  const dist::EngineOptions& options = opened.engine_options;
  partition::RunSizes sizes =
      model::run_sizes(opened.config, options.attention, options.weights, length.context_tokens,
                       std::min(length.longest_call_tokens, length.context_tokens), 0);
  sizes.mapped_tokens =
      length.context_tokens - std::min(length.context_tokens, length.tokens_in_memory);
  sizes.mapped_bytes = options.cache_memory.value_or(0);
  return sizes;
}

void require_grid_fits(const model::AttentionConfig& attention, std::size_t n_ranks) {
  if (attention.mode == model::AttentionMode::kReference && n_ranks > 1) {
    base::input_error(
        "--attention reference: a call is computed as a whole, on one rank; found {} ranks",
        n_ranks);
  }
}

std::unique_ptr<dist::Engine> load_engine(OpenedModel& opened, RunLength length, dist::World& world,
                                          std::size_t n_replicas) {
  dist::Communicator& all = world.communicator();
  require_same_files(opened.files, world);
  share_length(length, all);
  dist::MachineReport own = world.agree([] { return describe_machine(); });
  own.run = run_text(opened, n_replicas);
  const std::vector<dist::MachineReport> reports = dist::gather(all, own);
  const std::vector<CoreShare> shares = share_cores(reports);
  const std::size_t n_ranks = world.size() / n_replicas, replica = world.rank() / n_ranks;
  const partition::Plan plan = world.agree([&] {
    require_alike(reports);
    require_grid_fits(opened.engine_options.attention, n_ranks);
    return plan_for_replica(run_request(opened, length, n_replicas), reports, shares, replica);
  });
  opened.room = partition::sequence_room(run_sizes(opened, length), plan);
  const partition::Layout layout = partition::layout_of(plan);
  require_one_layout(layout, all);

  const CoreShare& share = shares[world.rank()];
  dist::EngineOptions& options = opened.engine_options;
  options.n_threads = opened.n_threads.value_or(share.n_threads);
  options.initial_states = opened.initial_states;
  Bound bound = bind_process(share, options.n_threads);
  options.thread_started = std::move(bound.thread_started);
  const std::vector<std::string> rank_texts = dist::gather_texts(
      all, fmt::format("{}; {}{}", bound.text,
                       n_replicas > 1 ? fmt::format("replica {}, ", replica) : "",
                       rank_text(plan, world.rank() % n_ranks)));
  if (world.leads_job()) log_run(plan.grid, opened, reports, shares, rank_texts);
  return world.agree([&] {
    return std::make_unique<dist::Engine>(all, opened.checkpoint, opened.config, layout, options);
  });
}

std::unique_ptr<model::Tokenizer> open_tokenizer_of(const model::Checkpoint& checkpoint,
                                                    const model::ModelConfig& config,
                                                    const std::string& name) {
  if (!name.empty()) return model::open_tokenizer(name);
  if (!config.tokenizer.empty()) return model::open_tokenizer(config.tokenizer);
  base::input_error(
      "--tokenizer: needed, as {} does not name its vocabulary: give a vocabulary file, or bytes",
      checkpoint.path().string());
}

}  // namespace longreach::launch
