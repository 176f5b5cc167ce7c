#include "launch/open_model.hpp"

#include "kernels/base/error.hpp"
#include "kernels/isa.hpp"
#include "launch/machine.hpp"
#include "partition/memory.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace longreach::launch {
namespace {

void set_up_log(Verbosity verbosity) {
  const auto log =
      spdlog::get("longreach") ? spdlog::get("longreach") : spdlog::stderr_logger_st("longreach");
  log->set_pattern(fmt::format("[%T] [{}] [%l] %v", host_name()));
  log->set_level(verbosity == Verbosity::kInfo ? spdlog::level::info : spdlog::level::warn);
  spdlog::set_default_logger(log);
}

dist::EngineOptions engine_options(const ModelOptions& options, const model::ModelConfig& config) {
  dist::EngineOptions engine;
  engine.attention = options.attention;
  engine.attention.chunk_size = options.chunk_size.value_or(config.attention.chunk_size);
  engine.attention.top_k = options.top_k.value_or(config.attention.top_k);
  const bool small_file = config.dtype == base::DType::kBf16;
  engine.weights =
      options.weights.value_or(small_file ? base::WeightFormat::kBf16 : base::WeightFormat::kF32);
  engine.n_threads = options.n_threads ? *options.n_threads : usable_cores();
  return engine;
}

void require_memory(const OpenedModel& opened, const partition::MemoryNeed& need,
                    const RunLength& length) {
  const std::size_t available = available_memory_bytes();
  if (need.total() <= available) return;
  if (need.weights + need.states > available) {
    base::input_error("--model: {} needs {} for its weights, {} are available",
                      opened.checkpoint.path().string(), bytes_text(need.weights + need.states),
                      bytes_text(available));
  }
  base::input_error("{}: {} tokens need {}, of which {} for the cache; {} are available",
                    length.option, length.context_tokens, bytes_text(need.total()),
                    bytes_text(need.cache), bytes_text(available));
}

}  // namespace

OpenedModel open_model(const ModelOptions& options) {
  set_up_log(options.verbosity);
  model::Checkpoint checkpoint = model::Checkpoint::open(options.model);
  model::ModelConfig config = model::read_config(checkpoint);
  const dist::EngineOptions engine = engine_options(options, config);
  return {std::move(checkpoint), std::move(config), engine};
}

partition::RunSizes run_sizes(const OpenedModel& opened, const RunLength& length) {
  const dist::EngineOptions& options = opened.engine_options;
  return model::run_sizes(opened.config, options.attention, options.weights, length.context_tokens,
                          length.longest_call_tokens, options.n_threads);
}

dist::Engine load_engine(const OpenedModel& opened, const RunLength& length) {
  const partition::MemoryNeed need = partition::memory_need(run_sizes(opened, length));
  spdlog::info("instruction set {}, {} threads, weights {}, memory {} ({} weights, {} cache)",
               kernels::active_isa(), opened.engine_options.n_threads,
               base::name_of(opened.engine_options.weights), bytes_text(need.total()),
               bytes_text(need.weights), bytes_text(need.cache));
  require_memory(opened, need, length);
  return dist::Engine(opened.checkpoint, opened.config, opened.engine_options);
}

std::unique_ptr<model::Tokenizer> open_tokenizer_of(const model::Checkpoint& checkpoint,
                                                    const model::ModelConfig& config,
                                                    const std::string& name) {
  if (!name.empty()) return model::open_tokenizer(name);
  if (!config.tokenizer.empty()) return model::open_tokenizer(config.tokenizer);
  base::input_error(
      "--tokenizer: needed, as {} does not tell its vocabulary: give a vocabulary file, or bytes",
      checkpoint.path().string());
}

}  // namespace longreach::launch
