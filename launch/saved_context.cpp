#include "launch/saved_context.hpp"

#include "eval/settings.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/simd/isa.hpp"
#include "launch/options/attention_options.hpp"
#include "launch/run_settings.hpp"
#include "model/state.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

namespace longreach::launch {

void require_savable(const model::AttentionConfig& attention) {
  if (attention.mode == model::AttentionMode::kReference) {
    base::input_error("--attention reference: states of this mode are not saved");
  }
}

dist::ContextSettings context_settings(const OpenedModel& opened, const model::Tokenizer* tokenizer,
                                       bool any_isa) {
  const model::AttentionConfig& attention = opened.engine_options.attention;
  require_savable(attention);
  dist::ContextSettings settings;
  settings.emplace_back("checkpoint", opened.checkpoint.preset() != nullptr
                                          ? "preset:" + model_name(opened.checkpoint)
                                          : opened.checkpoint.fingerprint());
  settings.emplace_back("weights", base::name_of(opened.engine_options.weights));
  std::ranges::copy(rounding_settings(opened.engine_options), std::back_inserter(settings));
  if (const auto& initial = opened.initial_states.front(); !initial.path().empty()) {
    settings.emplace_back(dist::kInitialStateSetting, initial.fingerprint());
  }
  if (!any_isa) settings.emplace_back(dist::kIsaSetting, kernels::active_isa());
  for (const AttentionPart part :
       {AttentionPart::kCache, AttentionPart::kMode, AttentionPart::kChunks}) {
    for (const auto& [name, value] : attention_settings(attention, part)) {
      settings.emplace_back(
          name, std::visit([](const auto& each) { return fmt::format("{}", each); }, value));
    }
  }
  if (tokenizer != nullptr) {
    settings.emplace_back(dist::kVocabularySetting,
                          eval::hash_of_vocabulary(*tokenizer, opened.config.vocab_size));
  }
  return settings;
}

ContextPoint context_point(const std::filesystem::path& directory, std::optional<std::size_t> at,
                           const dist::ContextSettings& settings) {
  const auto context = dist::ContextDirectory::open(directory);
  context.require(settings);
  const std::string name = base::utf8_name(directory.string());
  if (context.n_tokens() == 0) base::input_error("{}: holds no tokens yet", name);
  const std::size_t n_tokens = at.value_or(context.n_tokens());
  if (n_tokens > context.n_tokens()) {
    base::input_error("--at: expected at most {}, the tokens of {}, found {}", context.n_tokens(),
                      name, n_tokens);
  }
  ContextPoint point{context.tokens(), {}, {context.folders()}};
  point.tokens.resize(n_tokens);
  for (const dist::SavedState& state : context.states()) {
    if (state.n_tokens <= n_tokens) point.state.state = state;
  }
  // What goes on after it needs no more than the context whose own state it is.
  point.state.directory = dist::folders_of(context.folders(), point.n_saved()).back().path;
  return point;
}

std::vector<dist::ContextFolders> contexts_in(const std::filesystem::path& folder,
                                              EmptyFolder empty,
                                              const dist::ContextSettings& settings) {
  const std::string name = base::utf8_name(folder.string());
  if (dist::ContextDirectory::exists(folder)) {
    base::input_error("{}: expected a folder of contexts, found a context", name);
  }
  std::vector<dist::ContextFolders> fitting;
  std::vector<std::string> differences;
  bool holds_any = empty == EmptyFolder::kMade;
  std::error_code error;
  if (empty == EmptyFolder::kMade) std::filesystem::create_directories(folder, error);
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (!dist::ContextDirectory::exists(entry.path())) continue;
    holds_any = true;
    try {
      const auto context = dist::ContextDirectory::open(entry.path());
      if (const auto difference = context.difference_from(settings)) {
        differences.push_back(
            fmt::format("{} {}", base::utf8_name(entry.path().string()), *difference));
      } else if (context.n_tokens() > 0) {
        fitting.push_back(context.folders());
      }
    } catch (const base::InputError& unusable) {
      spdlog::warn("a context is left aside: {}", unusable.what());
    }
  }
  if (error) base::input_error("{}: {}", name, error.message());
  if (!holds_any) base::input_error("{}: expected a folder of contexts, found none in it", name);
  if (!differences.empty()) {
    spdlog::warn("contexts of other settings that are left aside: {}, the first: {}",
                 differences.size(), *std::ranges::min_element(differences));
  }
  std::ranges::sort(fitting, {},
                    [](const dist::ContextFolders& folders) { return folders.back().path; });
  return fitting;
}

dist::Session session_after(dist::Engine& engine, std::size_t n_tokens) {
  return n_tokens > 0 ? engine.restore(n_tokens) : engine.new_session();
}

void require_beginning(const dist::ContextDirectory& context,
                       std::span<const base::TokenId> tokens) {
  const std::vector<base::TokenId> saved = context.tokens();
  const std::size_t n = std::min(saved.size(), tokens.size());
  const auto differs = std::ranges::mismatch(std::span(saved).first(n), tokens.first(n)).in1;
  const auto n_alike = static_cast<std::size_t>(differs - std::span(saved).begin());
  if (n_alike < n) {
    base::input_error("{}: holds {} tokens of another text: {} tokens agree",
                      base::utf8_name(context.path().string()), saved.size(), n_alike);
  }
}

ContextBytes context_bytes(const OpenedModel& opened) {
  const partition::RunSizes sizes = run_sizes(opened, {1, 1, 1.0, "--file"});
  return {sizes.chunk_size, opened.config.n_sparse * sizes.cache.chunk_bytes,
          model::recurrent_bytes(opened.config)};
}

std::size_t tokens_between_states(std::optional<std::size_t> wanted, const OpenedModel& opened) {
  constexpr std::size_t kDefault = 8192, kCachePerState = 10;
  const ContextBytes bytes = context_bytes(opened);
  std::size_t every = kDefault;
  if (bytes.of_chunk > 0) {
    const std::size_t cache_bytes = kCachePerState * bytes.of_state;
    every = std::max(every, (cache_bytes + bytes.of_chunk - 1) / bytes.of_chunk * bytes.chunk_size);
  }
  every = wanted.value_or(every);
  // States between chunks are small: they hold no open one.
  return (every + bytes.chunk_size - 1) / bytes.chunk_size * bytes.chunk_size;
}

std::size_t saved_bytes(std::size_t n_tokens, const OpenedModel& opened) {
  const ContextBytes bytes = context_bytes(opened);
  const std::size_t every = tokens_between_states({}, opened);
  return n_tokens / bytes.chunk_size * bytes.of_chunk +
         (n_tokens + every - 1) / every * bytes.of_state;
}

std::vector<dist::ContextFolders> share_contexts(const std::filesystem::path& folder,
                                                 EmptyFolder empty, const OpenedModel& opened,
                                                 const model::Tokenizer* tokenizer, bool any_isa,
                                                 dist::World& world) {
  return dist::share_folders(world.communicator(), world.agree([&] {
    if (!world.leads_job()) return std::vector<dist::ContextFolders>();
    return contexts_in(folder, empty, context_settings(opened, tokenizer, any_isa));
  }));
}

generation::SavedTexts saved_texts(const OpenedModel& opened) {
  generation::SavedTexts texts;
  const auto& contexts = opened.engine_options.contexts;
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    texts.add(i, std::make_shared<const dist::ContextDirectory>(
                     dist::ContextDirectory::open(contexts[i].back().path)));
  }
  return texts;
}

}  // namespace longreach::launch
