/// Texts that were read and saved earlier (dist/context/), as beginnings of prompts. All were read
/// after the engine's initial state 0.
#pragma once

#include "dist/context/context_directory.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/types.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace longreach::generation {

class SavedTexts {
 public:
  /// A text, in place of another one, and the engine's number of its context. States may come to it
  /// later.
  void add(std::size_t context, std::shared_ptr<const dist::ContextDirectory> text) {
    contexts_.insert_or_assign(context, std::move(text));
  }
  void remove(std::size_t context) { contexts_.erase(context); }

  /// What becomes of a text whose files are damaged: it is taken out, then reported. By default the
  /// error is thrown.
  using OnDamage = std::function<void(std::size_t context, const base::InputError& error)>;
  void on_damage(OnDamage report) { on_damage_ = std::move(report); }
  void give_up(std::size_t context, const base::InputError& error);

  /// What becomes of a prompt that nothing is read of any more: gets what was read of it, or was
  /// known, during a step of the generator. By default nothing.
  using OnRead = std::function<void(std::span<const base::TokenId> tokens)>;
  void on_read(OnRead take) { on_read_ = std::move(take); }
  void was_read(std::span<const base::TokenId> tokens) const {
    if (on_read_) on_read_(tokens);
  }

  struct Found {
    std::size_t context = 0;   ///< The engine's number of it.
    std::size_t n_tokens = 0;  ///< Of a state in it.
  };
  /// The longest saved beginning of some tokens, of at most `most` of them and more than `least`;
  /// none if there is none. Errors: InputError naming a file that is damaged, unless damage is
  /// reported.
  std::optional<Found> find(std::span<const base::TokenId> tokens, std::size_t most,
                            std::size_t least);

 private:
  std::map<std::size_t, std::shared_ptr<const dist::ContextDirectory>> contexts_;
  OnDamage on_damage_;
  OnRead on_read_;
};

}  // namespace longreach::generation
