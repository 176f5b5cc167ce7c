/// Prefixes of token ids after which a session is kept, to begin other prompts from. Pure
/// bookkeeping: it knows ids of what is kept, and what that costs; what has to go is
/// returned.
///
/// What is kept fits a budget in bytes. When it does not, that goes first which was not used for
/// long and is cheap to read again for what it takes (GreedyDual-Size: Cao and Irani, "Cost-aware
/// WWW proxy caching algorithms", 1997). A prefix shares the chunks of the longest one kept before
/// it, so both its bytes and its cost are those of the tokens after that one.
#pragma once

#include "kernels/base/types.hpp"
#include "partition/sequence_room.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace longreach::generation {

using partition::SequenceBytes;

class PrefixTree {
 public:
  using KeptId = std::uint64_t;
  using Owner = std::uint64_t;
  using Tokens = std::span<const base::TokenId>;
  /// What was there before a first token. Sequences of different roots have nothing in common.
  using Root = std::size_t;

  /// A budget of 0 keeps nothing.
  PrefixTree(std::size_t budget_bytes, SequenceBytes bytes);

  /// Where the chunks of something kept lie.
  enum class Memory {
    kOwn,    ///< They count.
    kFiles,  ///< They do not.
  };

  /// What is known of the beginning of some tokens.
  struct Found {
    std::size_t n_kept = 0;      ///< The longest kept prefix; 0: none.
    KeptId kept = 0;             ///< What is kept there, if n_kept > 0.
    std::size_t n_promised = 0;  ///< The longest prefix that is promised or kept.
    std::size_t n_common = 0;    ///< How far a path goes the same way: a prefix others have, too.
  };
  /// Looks at the first `most` tokens.
  Found find(Root root, Tokens tokens, std::size_t most) const;
  /// All that is kept along the first `most` tokens, the shortest prefix first.
  std::vector<KeptId> kept_along(Root root, Tokens tokens, std::size_t most) const;
  /// Something kept was used.
  void use(KeptId kept);

  /// Somebody is going to keep these tokens (not none). Of several, the first one's promise counts.
  /// No promise is made of what the budget cannot hold.
  void promise(Root root, Tokens tokens, Owner owner);
  /// Takes back what of the owner's promises was not kept.
  void withdraw(Owner owner);

  /// Keeps something after these tokens (not none), in place of what may be kept there and is not
  /// pinned. Returns what has to go for it, perhaps itself; nothing else goes for what the budget
  /// cannot hold. Whatever comes of it, a promise of these tokens is no longer one.
  std::vector<KeptId> keep(Root root, Tokens tokens, KeptId kept, Memory memory = Memory::kOwn);

  /// Of all that is kept.
  std::size_t bytes() const;

  /// Somebody shares the memory of what is kept: as long as that is so, it does not go.
  void pin(KeptId kept);
  void unpin(KeptId kept);
  /// Of all that is pinned.
  std::size_t pinned_bytes() const;

  /// From now on. Returns what has to go.
  std::vector<KeptId> set_budget(std::size_t bytes);

 private:
  struct Node;

  /// Calls visit(node, n_common) for the nodes along the tokens, the last of which they may end or
  /// part inside of, having n_common tokens in common with it.
  template <typename Visit>
  void walk(Root root, Tokens tokens, Visit&& visit) const;

  struct Kept {
    KeptId id = 0;
    Memory memory = Memory::kOwn;
    std::size_t n_pins = 0;
    // When it was used last.
    double clock = 0;
    std::uint64_t n_uses = 0;
  };
  struct Node {
    std::vector<base::TokenId> edge;  ///< From the parent to here.
    std::size_t n_tokens = 0;         ///< From the root to here.
    Node* parent = nullptr;
    std::map<base::TokenId, std::unique_ptr<Node>> children;
    std::optional<Kept> kept;
    std::optional<Owner> promised;
  };

  bool can_hold(std::size_t n_tokens_in_memory) const;
  /// How many of the tokens lie in files, as far as something kept there shows.
  std::size_t tokens_in_files(Root root, Tokens tokens) const;
  Node& insert(Root root, Tokens tokens);
  /// Takes away nodes that nothing needs, from this one upwards: those left have something kept or
  /// promised, or are where paths part.
  void prune(Node* node);
  /// Takes from what is kept until it fits the budget, and adds what goes to `gone`.
  void shrink(std::vector<KeptId>& gone);
  std::size_t tokens_after_kept(const Node& node) const;
  std::size_t own_bytes(const Node& node) const;
  /// Of something kept; the least goes first, of equal ones that which was not used for longest.
  double value_of(const Node& node) const;

  std::size_t budget_bytes_;
  SequenceBytes sequence_bytes_;
  std::map<Root, Node> roots_;
  std::map<KeptId, Node*> kept_;
  std::multimap<Owner, Node*> promised_;
  double clock_ = 0;  ///< The greatest value of what has gone.
  std::uint64_t n_uses_ = 0;
};

}  // namespace longreach::generation
