#include "launch/run_settings.hpp"

#include "dist/context/context_directory.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/simd/isa.hpp"

#include <filesystem>
#include <system_error>

namespace longreach::launch {

std::string model_name(const model::Checkpoint& checkpoint) {
  const model::Preset* const preset = checkpoint.preset();
  return preset != nullptr ? std::string(preset->name) : checkpoint.path().filename().string();
}

std::vector<std::pair<std::string, std::string>> rounding_settings(
    const dist::EngineOptions& options) {
  std::vector<std::pair<std::string, std::string>> settings;
  if (options.activations == base::Activations::kF32) return settings;
  settings.emplace_back(dist::kActivationsSetting, base::name_of(options.activations));
  if (options.attention.kv != base::KvFormat::kF32) {
    settings.emplace_back(dist::kAttentionActivationsSetting, "bf16");
  }
  return settings;
}

eval::Settings run_settings(const OpenedModel& opened, const model::Tokenizer& tokenizer,
                            std::optional<base::TokenId> bos) {
  const model::AttentionConfig& attention = opened.engine_options.attention;
  eval::Settings settings;
  const auto add = [&](const eval::Settings& more) {
    settings.insert(settings.end(), more.begin(), more.end());
  };
  add({{"model", model_name(opened.checkpoint)},
       {"weights", std::string(base::name_of(opened.engine_options.weights))}});
  for (const auto& [name, value] : rounding_settings(opened.engine_options)) {
    settings.emplace_back(name, value);
  }
  add(attention_settings(attention, AttentionPart::kCache));
  add({{"tokenizer", std::filesystem::path(tokenizer.name()).filename().string()},
       {"vocabulary", eval::hash_of_vocabulary(tokenizer, opened.config.vocab_size)},
       {"end_token", static_cast<std::uint64_t>(opened.config.end_token)}});
  if (bos) settings.emplace_back("bos", static_cast<std::uint64_t>(*bos));
  add(attention_settings(attention, AttentionPart::kMode));
  add(attention_settings(attention, AttentionPart::kChunks));
  settings.emplace_back("isa", kernels::active_isa());
  if (opened.checkpoint.preset() == nullptr) {
    settings.emplace_back("checkpoint", opened.checkpoint.fingerprint());
  }
  if (const auto& initial = opened.initial_states.front(); !initial.path().empty()) {
    settings.emplace_back(std::string(dist::kInitialStateSetting), initial.fingerprint());
  }
  if (attention.mode == model::AttentionMode::kReference) {
    add(attention_settings(attention, AttentionPart::kEviction));
  }
  return settings;
}

void require_replicas(std::size_t n_replicas, std::size_t n_ranks) {
  if (n_ranks % n_replicas == 0) return;
  base::input_error("--replicas: expected a number that divides the {} rank{} of the job, found {}",
                    n_ranks, n_ranks == 1 ? "" : "s", n_replicas);
}

void require_readable_by_all(std::size_t n_replicas, std::string_view option,
                             const std::filesystem::path& file) {
  std::error_code ignored;
  const bool is_stream =
      std::filesystem::exists(file, ignored) && !std::filesystem::is_regular_file(file, ignored);
  if (n_replicas == 1 || !is_stream) return;
  base::input_error("{}: expected a plain file, as each of {} replicas reads it, found {}", option,
                    n_replicas, base::utf8_name(file.string()));
}

}  // namespace longreach::launch
