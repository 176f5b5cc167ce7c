#include "generation/saved_texts.hpp"

#include <algorithm>
#include <vector>

namespace longreach::generation {

std::optional<SavedTexts::Found> SavedTexts::find(std::span<const base::TokenId> tokens,
                                                  std::size_t most, std::size_t least) {
  most = std::min(most, tokens.size());
  std::optional<Found> best;
  std::map<std::size_t, base::InputError> damaged;
  for (const auto& [context, text] : contexts_) {
    const std::span<const dist::SavedState> states = text->states();
    const auto begins = [&](const dist::SavedState& state) {
      return state.n_tokens <= most &&
             dist::checksum_of(tokens.first(state.n_tokens)) == state.tokens_crc32;
    };
    // Where one state's tokens differ, those of all later ones do.
    const auto end = std::ranges::partition_point(states, begins);
    if (end == states.begin()) continue;
    const std::size_t n_tokens = std::prev(end)->n_tokens;
    if (n_tokens <= std::max(least, best ? best->n_tokens : 0)) continue;
    try {
      const std::vector<base::TokenId> saved = text->tokens();
      if (!std::ranges::equal(std::span(saved).first(n_tokens), tokens.first(n_tokens))) continue;
      best = Found{context, n_tokens};
    } catch (const base::InputError& error) {
      damaged.emplace(context, error);
    }
  }
  for (const auto& [context, error] : damaged) give_up(context, error);
  return best;
}

void SavedTexts::give_up(std::size_t context, const base::InputError& error) {
  if (!on_damage_) throw base::InputError(error);
  remove(context);
  on_damage_(context, error);
}

}  // namespace longreach::generation
