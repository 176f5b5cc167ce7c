/// Texts that were read and saved earlier (dist/context/), as beginnings of prompts.
#pragma once

#include "dist/context/context_directory.hpp"
#include "kernels/base/types.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace longreach::generation {

class SavedTexts {
 public:
  /// The contexts, in the order in which the engine has them (EngineOptions.contexts).
  explicit SavedTexts(std::vector<dist::ContextDirectory> contexts)
      : contexts_(std::move(contexts)) {}

  struct Found {
    std::size_t context = 0;   ///< Which one.
    std::size_t n_tokens = 0;  ///< Of a state in it.
  };
  /// The longest saved beginning of some tokens, of at most `most` of them and more than `least`;
  /// none if there is none. Errors: InputError naming a file that is damaged.
  std::optional<Found> find(std::span<const base::TokenId> tokens, std::size_t most,
                            std::size_t least) const;

 private:
  std::vector<dist::ContextDirectory> contexts_;
};

}  // namespace longreach::generation
