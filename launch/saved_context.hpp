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
#include <span>
#include <vector>

namespace longreach::launch {

/// Errors: InputError naming --attention where its states cannot be saved.
void require_savable(const model::AttentionConfig& attention);

/// What a context must have been saved with to be of use. Without a tokenizer, the vocabulary is
/// not looked at; with `any_isa`, nor is the path of instructions, without which bits are those of
/// two runs. Errors: InputError for mode reference, whose states are not saved.
dist::ContextSettings context_settings(const OpenedModel& opened, const model::Tokenizer* tokenizer,
                                       bool any_isa = false);

/// Where a run begins: after tokens of a context, the first ones of which its state holds.
struct ContextPoint {
  std::vector<base::TokenId> tokens;          ///< Of the context; none if there is none.
  dist::ContextParent state;                  ///< Of the first ones; after 0 tokens for none.
  std::vector<dist::ContextFolders> folders;  ///< Of the context, as the engine needs them.

  std::size_t n_saved() const { return state.state.n_tokens; }
  /// What is to be read after the state.
  std::span<const base::TokenId> to_read() const { return std::span(tokens).subspan(n_saved()); }
};

/// The context after its first `at` tokens, by default all. Errors: InputError naming the context
/// or --at.
ContextPoint context_point(const std::filesystem::path& directory, std::optional<std::size_t> at,
                           const dist::ContextSettings& settings);

/// What becomes of a folder that is to hold contexts and holds none.
enum class EmptyFolder { kRefused, kMade };

/// The contexts in a folder that have these settings and hold tokens, in the order of their names;
/// what else is there is left aside, with a warning if it is a context that cannot be opened.
/// Errors: InputError naming the folder.
std::vector<dist::ContextFolders> contexts_in(const std::filesystem::path& folder,
                                              EmptyFolder empty,
                                              const dist::ContextSettings& settings);

/// The session that the first of the engine's contexts holds after so many tokens; a new one if
/// there are none.
dist::Session session_after(dist::Engine& engine, std::size_t n_tokens);

/// Refuses a context that is to hold `tokens` and holds something else.
void require_beginning(const dist::ContextDirectory& context,
                       std::span<const base::TokenId> tokens);

/// What a context takes on the disk.
struct ContextBytes {
  std::size_t chunk_size = 1;  ///< Tokens.
  std::size_t of_chunk = 0;    ///< In all blocks together.
  std::size_t of_state = 0;    ///< Between chunks.
};
ContextBytes context_bytes(const OpenedModel& opened);

/// After how many tokens a state is saved, in whole chunks: by default so that states are a tenth
/// of the cache at most.
std::size_t tokens_between_states(std::optional<std::size_t> wanted, const OpenedModel& opened);

/// What a context of so many tokens takes on the disk, in chunks and states.
std::size_t saved_bytes(std::size_t n_tokens, const OpenedModel& opened);

/// The same on all ranks: what the leader of the job, which alone needs the tokenizer, finds.
/// Collective; its errors are AgreedErrors on all ranks.
std::vector<dist::ContextFolders> share_contexts(const std::filesystem::path& folder,
                                                 EmptyFolder empty, const OpenedModel& opened,
                                                 const model::Tokenizer* tokenizer, bool any_isa,
                                                 dist::World& world);

/// The engine's contexts as beginnings of prompts. Errors: InputError naming a damaged one.
generation::SavedTexts saved_texts(const OpenedModel& opened);

}  // namespace longreach::launch
