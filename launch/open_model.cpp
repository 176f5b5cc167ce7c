#include "launch/open_model.hpp"

#include "kernels/base/error.hpp"
#include "kernels/isa.hpp"
#include "launch/machine.hpp"
#include "partition/memory.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <string_view>
#include <vector>

namespace longreach::launch {
namespace {

namespace fs = std::filesystem;

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
  engine.weights = options.weights.value_or(small_file ? base::DType::kBf16 : base::DType::kF32);
  engine.n_threads = options.n_threads ? *options.n_threads : usable_cores();
  return engine;
}

/// The vocabulary file beside a checkpoint, if there is exactly one.
std::optional<fs::path> vocabulary_beside(const fs::path& checkpoint) {
  std::vector<fs::path> found;
  std::error_code ignored;
  const fs::path folder = checkpoint.has_parent_path() ? checkpoint.parent_path() : fs::path(".");
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("rwkv_vocab") && name.ends_with(".txt")) found.push_back(entry.path());
  }
  return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
}

partition::MemoryNeed memory_need(const OpenedModel& opened, const RunLength& length) {
  const model::ModelConfig& config = opened.config;
  const dist::EngineOptions& options = opened.engine_options;
  const bool whole_calls = options.attention.mode == model::AttentionMode::kReference;
  partition::RunSizes sizes{.vocab_size = config.vocab_size,
                            .n_embd = config.n_embd,
                            .n_head = config.n_head,
                            .ffn_size = config.ffn_size,
                            .n_rwkv = 0,
                            .n_sparse = 0,
                            .low_ranks = {},
                            .chunk_size = options.attention.chunk_size,
                            .bytes_per_weight = base::size_of(options.weights),
                            .context_tokens = length.context_tokens,
                            .slice_tokens = model::kSliceTokens,
                            .held_tokens = whole_calls ? length.longest_call_tokens : 0,
                            .n_threads = options.n_threads};
  for (const model::BlockRef& block : config.execution_order()) {
    if (block.kind == model::BlockKind::kSparse) {
      ++sizes.n_sparse;
    } else {
      ++sizes.n_rwkv;
      const model::LowRanks& ranks = config.low_ranks[block.index];
      sizes.low_ranks.insert(sizes.low_ranks.end(), {ranks.w, ranks.a, ranks.v, ranks.g});
    }
  }
  return partition::memory_need(sizes);
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

dist::Engine load_engine(const OpenedModel& opened, const RunLength& length) {
  const partition::MemoryNeed need = memory_need(opened, length);
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
  if (const auto file = vocabulary_beside(checkpoint.path()))
    return model::open_tokenizer(file->string());
  if (config.vocab_size == 256) return model::open_tokenizer("bytes");
  base::input_error(
      "--tokenizer: needed, as {} does not tell its vocabulary: give a vocabulary file, or bytes",
      checkpoint.path().string());
}

}  // namespace longreach::launch
