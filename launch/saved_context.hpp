/// Contexts, as the commands that read or write them name them.
#pragma once

#include "dist/comm/world.hpp"
#include "dist/context/context_directory.hpp"
#include "generation/saved_texts.hpp"
#include "kernels/base/types.hpp"
#include "launch/open_model.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

namespace longreach::launch {

/// What a context must have been saved with to be of use. Without a tokenizer, the vocabulary is
/// not looked at. Errors: InputError for mode reference, whose states are not saved.
dist::ContextSettings context_settings(const OpenedModel& opened,
                                       const model::Tokenizer* tokenizer);

/// Where a run begins: a saved state, if there is one, and tokens to read after it.
struct ContextPoint {
  std::size_t n_saved = 0;  ///< Tokens of the state; 0 for none.
  std::vector<base::TokenId> to_read;
};

/// The context after its first `at` tokens, by default all. Errors: InputError naming the context
/// or --at.
ContextPoint context_point(const std::filesystem::path& directory, std::optional<std::size_t> at,
                           const dist::ContextSettings& settings);

/// The contexts in a folder that have these settings and hold tokens, as their paths; what else is
/// there is left aside. Errors: InputError naming the folder if it holds no context.
std::vector<std::filesystem::path> contexts_in(const std::filesystem::path& folder,
                                               const dist::ContextSettings& settings);

/// The same on all ranks: what the leader of the job, which alone needs the tokenizer, finds.
/// Collective; an AgreedError on all ranks if it finds none.
std::vector<std::filesystem::path> share_contexts(const std::filesystem::path& folder,
                                                  const OpenedModel& opened,
                                                  const model::Tokenizer* tokenizer,
                                                  dist::World& world);

/// The engine's contexts as beginnings of prompts. Errors: InputError naming a damaged one.
generation::SavedTexts saved_texts(const OpenedModel& opened);

/// The session of that state.
dist::Session session_at(dist::Engine& engine, const ContextPoint& point);

}  // namespace longreach::launch
