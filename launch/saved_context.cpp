#include "launch/saved_context.hpp"

#include "dist/comm/gather_texts.hpp"
#include "eval/settings.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/simd/isa.hpp"
#include "launch/options/attention_options.hpp"
#include "launch/run_settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

namespace longreach::launch {

dist::ContextSettings context_settings(const OpenedModel& opened,
                                       const model::Tokenizer* tokenizer) {
  const model::AttentionConfig& attention = opened.engine_options.attention;
  if (attention.mode == model::AttentionMode::kReference) {
    base::input_error("--attention reference: states of this mode are not saved");
  }
  dist::ContextSettings settings;
  if (opened.checkpoint.preset() != nullptr) {
    settings.emplace_back("model", model_name(opened.checkpoint));
  } else {
    settings.emplace_back("checkpoint", opened.checkpoint.fingerprint());
  }
  settings.emplace_back("weights", base::name_of(opened.engine_options.weights));
  settings.emplace_back("isa", kernels::active_isa());
  for (const AttentionPart part :
       {AttentionPart::kCache, AttentionPart::kMode, AttentionPart::kChunks}) {
    for (const auto& [name, value] : attention_settings(attention, part)) {
      settings.emplace_back(
          name, std::visit([](const auto& each) { return fmt::format("{}", each); }, value));
    }
  }
  if (tokenizer != nullptr) {
    settings.emplace_back("vocabulary",
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
  ContextPoint point;
  for (const dist::SavedState& state : context.states()) {
    if (state.n_tokens <= n_tokens) point.n_saved = state.n_tokens;
  }
  const std::vector<base::TokenId> tokens = context.tokens();
  point.to_read.assign(tokens.begin() + static_cast<std::ptrdiff_t>(point.n_saved),
                       tokens.begin() + static_cast<std::ptrdiff_t>(n_tokens));
  return point;
}

std::vector<std::filesystem::path> contexts_in(const std::filesystem::path& folder,
                                               const dist::ContextSettings& settings) {
  std::vector<std::filesystem::path> fitting;
  bool holds_any = false;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (!dist::ContextDirectory::exists(entry.path())) continue;
    holds_any = true;
    const auto context = dist::ContextDirectory::open(entry.path());
    if (context.n_tokens() > 0 && context.has(settings)) fitting.push_back(entry.path());
  }
  const std::string name = base::utf8_name(folder.string());
  if (error) base::input_error("{}: {}", name, error.message());
  if (!holds_any) base::input_error("{}: expected a folder of contexts, found none in it", name);
  std::ranges::sort(fitting);
  return fitting;
}

std::vector<std::filesystem::path> share_contexts(const std::filesystem::path& folder,
                                                  const OpenedModel& opened,
                                                  const model::Tokenizer* tokenizer,
                                                  dist::World& world) {
  const std::string found = world.agree([&] {
    std::string names;
    if (!world.leads_job()) return names;
    for (const auto& path : contexts_in(folder, context_settings(opened, tokenizer))) {
      names += path.string() + '\0';
    }
    return names;
  });
  std::vector<std::filesystem::path> contexts;
  std::istringstream names(dist::gather_texts(world.communicator(), found).front());
  for (std::string name; std::getline(names, name, '\0');) contexts.emplace_back(name);
  return contexts;
}

generation::SavedTexts saved_texts(const OpenedModel& opened) {
  std::vector<dist::ContextDirectory> contexts;
  for (const std::filesystem::path& path : opened.engine_options.contexts) {
    contexts.push_back(dist::ContextDirectory::open(path));
  }
  return generation::SavedTexts(std::move(contexts));
}

dist::Session session_at(dist::Engine& engine, const ContextPoint& point) {
  return point.n_saved > 0 ? engine.restore(point.n_saved) : engine.new_session();
}

}  // namespace longreach::launch
