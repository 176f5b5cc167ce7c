#include "generation/prefix_tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <utility>
#include <vector>

namespace longreach::generation {
namespace {

using Tokens = std::vector<base::TokenId>;
using KeptIds = std::vector<PrefixTree::KeptId>;

constexpr PrefixTree::Root kRoot = 0;
constexpr SequenceBytes kBytes{.fixed = 10, .per_token = 1};

/// So many tokens that begin with a given one, for paths that part at once.
Tokens path(base::TokenId first, std::size_t n) {
  Tokens tokens(n, 0);
  tokens.front() = first;
  return tokens;
}

std::size_t common_length(const Tokens& a, const Tokens& b) {
  std::size_t n = 0;
  while (n < std::min(a.size(), b.size()) && a[n] == b[n]) ++n;
  return n;
}

/// The same as a list of prefixes, each compared token by token.
class ReferencePrefixes {
 public:
  explicit ReferencePrefixes(std::size_t budget) : budget_(budget) {}

  PrefixTree::Found find(const Tokens& tokens, std::size_t most) const {
    const Tokens first(tokens.begin(),
                       tokens.begin() + static_cast<std::ptrdiff_t>(std::min(most, tokens.size())));
    PrefixTree::Found found;
    for (const Entry& entry : entries_) {
      const std::size_t n = common_length(first, entry.tokens);
      found.n_common = std::max(found.n_common, n);
      if (n < entry.tokens.size()) continue;
      found.n_promised = std::max(found.n_promised, n);
      if (entry.is_kept && n > found.n_kept) {
        found.n_kept = n;
        found.kept = entry.id;
      }
    }
    return found;
  }

  void use(PrefixTree::KeptId id) {
    for (Entry& entry : entries_) {
      if (entry.is_kept && entry.id == id) touch(entry);
    }
  }

  void promise(const Tokens& tokens, PrefixTree::Owner owner) {
    const bool is_there = std::ranges::count(entries_, tokens, &Entry::tokens) > 0;
    if (kBytes.of(tokens.size()) <= budget_ && !is_there)
      entries_.push_back({tokens, false, owner});
  }

  void withdraw(PrefixTree::Owner owner) {
    std::erase_if(entries_, [&](const Entry& e) { return !e.is_kept && e.id == owner; });
  }

  KeptIds keep(const Tokens& tokens, PrefixTree::KeptId id) {
    if (kBytes.of(tokens.size()) > budget_) return {id};
    KeptIds gone;
    for (const Entry& entry : entries_) {
      if (entry.is_kept && entry.tokens == tokens) gone.push_back(entry.id);
    }
    std::erase_if(entries_, [&](const Entry& e) { return e.tokens == tokens; });
    entries_.push_back({tokens, true, id});
    touch(entries_.back());
    while (bytes() > budget_) {
      Entry* least = nullptr;
      for (Entry& entry : entries_) {
        if (entry.is_kept && (least == nullptr || order(entry) < order(*least))) least = &entry;
      }
      clock_ = std::max(clock_, order(*least).first);
      gone.push_back(least->id);
      entries_.erase(entries_.begin() + (least - entries_.data()));
    }
    return gone;
  }

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Entry& entry : entries_) {
      if (entry.is_kept) sum += kBytes.of(own_tokens(entry));
    }
    return sum;
  }

  KeptIds kept() const {
    KeptIds ids;
    for (const Entry& entry : entries_) {
      if (entry.is_kept) ids.push_back(entry.id);
    }
    return ids;
  }

 private:
  struct Entry {
    Tokens tokens;
    bool is_kept = false;
    std::uint64_t id = 0;  ///< Of what is kept, or the owner of the promise.
    double clock = 0;
    std::uint64_t n_uses = 0;
  };

  void touch(Entry& entry) {
    entry.clock = clock_;
    entry.n_uses = ++n_uses_;
  }
  std::size_t own_tokens(const Entry& of) const {
    std::size_t before = 0;
    for (const Entry& entry : entries_) {
      const std::size_t n = entry.tokens.size();
      if (entry.is_kept && n < of.tokens.size() && common_length(entry.tokens, of.tokens) == n) {
        before = std::max(before, n);
      }
    }
    return of.tokens.size() - before;
  }
  std::pair<double, std::uint64_t> order(const Entry& entry) const {
    const std::size_t n = own_tokens(entry);
    return {entry.clock + static_cast<double>(n) / static_cast<double>(kBytes.of(n)), entry.n_uses};
  }

  std::size_t budget_;
  std::vector<Entry> entries_;
  double clock_ = 0;
  std::uint64_t n_uses_ = 0;
};

void expect_same(const PrefixTree::Found& found, const PrefixTree::Found& expected) {
  EXPECT_EQ(found.n_kept, expected.n_kept);
  EXPECT_EQ(found.kept, expected.kept);
  EXPECT_EQ(found.n_promised, expected.n_promised);
  EXPECT_EQ(found.n_common, expected.n_common);
}

/// Two tokens only, and often a prefix of what was there before: paths meet and part everywhere.
Tokens random_tokens(std::mt19937& random, std::vector<Tokens>& seen) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  Tokens tokens;
  if (!seen.empty() && below(4) > 0) {
    tokens = seen[below(seen.size())];
    tokens.resize(1 + below(tokens.size()));
  }
  const std::size_t n_more = tokens.empty() ? 1 + below(20) : below(12);
  for (std::size_t i = 0; i < n_more; ++i) {
    tokens.push_back(static_cast<base::TokenId>(below(2)));
  }
  if (seen.size() < 30) {
    seen.push_back(tokens);
  } else {
    seen[below(seen.size())] = tokens;
  }
  return tokens;
}

TEST(PrefixTreeTest, EqualsAListOfPrefixesAfterAnyOperations) {
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const std::size_t budget = 20 + random() % 300;
    PrefixTree tree(budget, kBytes);
    ReferencePrefixes reference(budget);
    std::vector<Tokens> seen;
    for (std::uint64_t i = 1; i <= 300 && !HasFailure(); ++i) {
      SCOPED_TRACE(testing::Message() << "operation " << i);
      const Tokens tokens = random_tokens(random, seen);
      const PrefixTree::Owner owner = random() % 6;
      const KeptIds kept = reference.kept();
      switch (random() % 6) {
        case 0:
        case 1:
          ASSERT_EQ(tree.keep(kRoot, tokens, i), reference.keep(tokens, i));
          break;
        case 2:
        case 3:
          tree.promise(kRoot, tokens, owner);
          reference.promise(tokens, owner);
          break;
        case 4:
          tree.withdraw(owner);
          reference.withdraw(owner);
          break;
        default:
          if (kept.empty()) break;
          tree.use(kept[i % kept.size()]);
          reference.use(kept[i % kept.size()]);
      }
      EXPECT_EQ(tree.bytes(), reference.bytes());
      EXPECT_LE(tree.bytes(), budget);
      const Tokens asked = random_tokens(random, seen);
      const std::size_t most = random() % (asked.size() + 3);
      expect_same(tree.find(kRoot, asked, most), reference.find(asked, most));
      expect_same(tree.find(kRoot, tokens, tokens.size()), reference.find(tokens, tokens.size()));
    }
  }
}

TEST(PrefixTreeTest, FindsTheLongestKeptPrefix) {
  PrefixTree tree(1000, kBytes);
  tree.keep(kRoot, Tokens{1, 2}, 7);
  tree.keep(kRoot, Tokens{1, 2, 3, 4}, 8);
  tree.promise(kRoot, Tokens{1, 2, 3, 4, 5}, 1);
  expect_same(tree.find(kRoot, Tokens{1, 2, 3, 4, 5, 6}, 6), {4, 8, 5, 5});
  expect_same(tree.find(kRoot, Tokens{1, 2, 3, 4, 5, 6}, 3), {2, 7, 2, 3});
  expect_same(tree.find(kRoot, Tokens{1, 2, 3, 9}, 4), {2, 7, 2, 3});
  expect_same(tree.find(kRoot, Tokens{1, 9}, 2), {0, 0, 0, 1});
  expect_same(tree.find(kRoot, Tokens{}, 2), {});
}

TEST(PrefixTreeTest, SequencesOfDifferentRootsShareNothingButTheBudget) {
  constexpr PrefixTree::Root kOther = 1;
  PrefixTree tree(30, kBytes);
  tree.keep(kRoot, Tokens{1, 2}, 7);
  tree.promise(kOther, Tokens{1, 2, 3}, 1);
  expect_same(tree.find(kOther, Tokens{1, 2, 3}, 3), {0, 0, 3, 3});
  expect_same(tree.find(kRoot, Tokens{1, 2, 3}, 3), {2, 7, 2, 2});
  EXPECT_EQ(tree.keep(kOther, Tokens{1, 2}, 8), KeptIds{});
  EXPECT_EQ(tree.kept_along(kOther, Tokens{1, 2, 3}, 3), KeptIds{8});
  EXPECT_EQ(tree.kept_along(kRoot, Tokens{1, 2, 3}, 3), KeptIds{7});
  EXPECT_EQ(tree.keep(kOther, Tokens{1, 9}, 9), KeptIds{7});
  expect_same(tree.find(kRoot, Tokens{1, 2, 3}, 3), {});
}

TEST(PrefixTreeTest, WithdrawsPromisesOfWhichOneBeginsAnother) {
  PrefixTree tree(1000, kBytes);
  tree.promise(kRoot, Tokens{1, 2}, 1);
  tree.promise(kRoot, Tokens{1, 2, 3, 4}, 1);
  tree.promise(kRoot, Tokens{1, 2, 5}, 2);
  tree.withdraw(1);
  expect_same(tree.find(kRoot, Tokens{1, 2, 3, 4}, 4), {0, 0, 0, 2});
  tree.withdraw(2);
  expect_same(tree.find(kRoot, Tokens{1, 2, 3, 4}, 4), {});
}

TEST(PrefixTreeTest, WhatWasKeptStaysWhenPromisesAreWithdrawn) {
  PrefixTree tree(1000, kBytes);
  tree.promise(kRoot, Tokens{1, 2}, 1);
  EXPECT_EQ(tree.keep(kRoot, Tokens{1, 2}, 5), KeptIds{});
  tree.withdraw(1);
  expect_same(tree.find(kRoot, Tokens{1, 2}, 2), {2, 5, 2, 2});
}

TEST(PrefixTreeTest, KeepsInPlaceOfWhatIsThere) {
  PrefixTree tree(1000, kBytes);
  tree.keep(kRoot, Tokens{1, 2}, 5);
  EXPECT_EQ(tree.keep(kRoot, Tokens{1, 2}, 6), KeptIds{5});
  EXPECT_EQ(tree.bytes(), kBytes.of(2));
}

TEST(PrefixTreeTest, WhatTheBudgetCannotHoldGoesAloneAndIsNotPromised) {
  PrefixTree tree(100, kBytes);
  tree.keep(kRoot, path(1, 20), 1);
  tree.keep(kRoot, path(2, 20), 2);
  const Tokens large = path(3, 91);
  tree.promise(kRoot, large, 9);
  EXPECT_EQ(tree.find(kRoot, large, 91).n_promised, 0u);
  EXPECT_EQ(tree.keep(kRoot, large, 3), KeptIds{3});
  EXPECT_EQ(tree.bytes(), 2 * kBytes.of(20));
  expect_same(tree.find(kRoot, large, 91), {});
  EXPECT_EQ(tree.keep(kRoot, path(4, 90), 4).size(), 2u);  // just fits, alone
}

TEST(PrefixTreeTest, ABudgetOfNothingKeepsNothing) {
  PrefixTree tree(0, {});
  tree.promise(kRoot, Tokens{1}, 1);
  EXPECT_EQ(tree.keep(kRoot, Tokens{1}, 1), KeptIds{1});
  expect_same(tree.find(kRoot, Tokens{1}, 1), {});
}

TEST(PrefixTreeTest, WhatIsCheapToReadAgainGoesFirst) {
  PrefixTree tree(150, kBytes);
  tree.keep(kRoot, path(1, 5), 1);   // a third of its bytes are those of tokens
  tree.keep(kRoot, path(2, 80), 2);  // eight ninths
  EXPECT_EQ(tree.keep(kRoot, path(3, 60), 3), (KeptIds{1, 3}));
  tree.keep(kRoot, path(4, 5), 4);
  EXPECT_EQ(tree.bytes(), kBytes.of(80) + kBytes.of(5));
}

TEST(PrefixTreeTest, WhatWasNotUsedForLongGoesFirst) {
  PrefixTree tree(3 * kBytes.of(20), kBytes);
  for (base::TokenId i = 1; i <= 3; ++i)
    tree.keep(kRoot, path(i, 20), static_cast<std::uint64_t>(i));
  tree.use(1);
  EXPECT_EQ(tree.keep(kRoot, path(4, 20), 4), KeptIds{2});
  tree.use(3);
  EXPECT_EQ(tree.keep(kRoot, path(5, 20), 5), KeptIds{1});
}

TEST(PrefixTreeTest, WhatIsNeverUsedGoesHoweverMuchItSaves) {
  PrefixTree tree(kBytes.of(60) + 2 * kBytes.of(5), kBytes);
  tree.keep(kRoot, path(1, 60), 1);
  bool is_gone = false;
  for (base::TokenId i = 2; i < 20 && !is_gone; ++i) {
    const KeptIds gone = tree.keep(kRoot, path(i, 5), static_cast<std::uint64_t>(i));
    is_gone = std::ranges::count(gone, 1u) > 0;
  }
  EXPECT_TRUE(is_gone);
}

/// Answers of one long dialogue, each kept after the one before it; only the last ones stay.
TEST(PrefixTreeTest, OfALongDialogueTheLastTurnsStay) {
  PrefixTree tree(22'500, kBytes);
  Tokens dialogue;
  std::size_t n_gone = 0;
  for (std::uint64_t turn = 1; turn <= 1000; ++turn) {
    dialogue.insert(dialogue.end(), 20, static_cast<base::TokenId>(turn));
    n_gone += tree.keep(kRoot, dialogue, turn).size();
  }
  EXPECT_GT(n_gone, 0u);
  EXPECT_EQ(tree.find(kRoot, dialogue, dialogue.size()).n_kept, dialogue.size());
}

TEST(PrefixTreeTest, ChunksInFilesDoNotCount) {
  PrefixTree small(30, kBytes), tree(1100, kBytes);
  const Tokens saved = path(1, 1000);
  EXPECT_EQ(small.keep(kRoot, saved, 1), KeptIds{1});
  EXPECT_EQ(small.keep(kRoot, saved, 2, PrefixTree::Memory::kFiles), KeptIds{});
  EXPECT_EQ(small.bytes(), kBytes.fixed);
  EXPECT_EQ(tree.keep(kRoot, saved, 1), KeptIds{});
  EXPECT_EQ(tree.bytes(), kBytes.fixed + 1000);
  EXPECT_EQ(tree.keep(kRoot, saved, 2, PrefixTree::Memory::kFiles), KeptIds{1});
  Tokens longer = saved;
  longer.resize(saved.size() + 10);
  EXPECT_EQ(tree.keep(kRoot, longer, 3), KeptIds{});
  EXPECT_EQ(tree.bytes(), 2 * kBytes.fixed + 10);
  // Also where the whole would not fit.
  EXPECT_EQ(small.keep(kRoot, longer, 3), KeptIds{});
  EXPECT_EQ(small.find(kRoot, longer, longer.size()).kept, 3u);
  EXPECT_EQ(small.bytes(), 2 * kBytes.fixed + 10);
}

TEST(PrefixTreeTest, WhatIsPinnedStays) {
  PrefixTree tree(30, {10, 0});
  const std::vector<base::TokenId> a{1, 1}, b{2, 2}, c{3, 3}, d{4, 4};
  EXPECT_TRUE(tree.keep(kRoot, a, 1).empty());
  EXPECT_TRUE(tree.keep(kRoot, b, 2).empty());
  EXPECT_TRUE(tree.keep(kRoot, c, 3).empty());
  tree.pin(1);
  tree.pin(1);
  EXPECT_EQ(tree.pinned_bytes(), 10);
  EXPECT_EQ(tree.keep(kRoot, d, 4), (std::vector<PrefixTree::KeptId>{2}));
  EXPECT_EQ(tree.keep(kRoot, a, 5),
            (std::vector<PrefixTree::KeptId>{5}));  // nor is another put there
  EXPECT_EQ(tree.set_budget(0), (std::vector<PrefixTree::KeptId>{3, 4}));
  EXPECT_EQ(tree.find(kRoot, a, 2).kept, 1u);
  tree.unpin(1);
  EXPECT_TRUE(tree.set_budget(10).empty());
  EXPECT_EQ(tree.pinned_bytes(), 10);
  tree.unpin(1);
  EXPECT_EQ(tree.pinned_bytes(), 0);
  EXPECT_EQ(tree.set_budget(0), (std::vector<PrefixTree::KeptId>{1}));
}

TEST(PrefixTreeTest, NamesAllThatIsKeptAlongAPath) {
  PrefixTree tree(1000, {10, 1});
  const std::vector<base::TokenId> tokens{1, 2, 3, 4, 5, 6}, other{1, 2, 9};
  const PrefixTree::Tokens path = tokens;
  EXPECT_TRUE(tree.keep(kRoot, path, 6).empty());
  EXPECT_TRUE(tree.keep(kRoot, path.first(2), 2).empty());
  EXPECT_TRUE(tree.keep(kRoot, other, 3).empty());
  tree.promise(kRoot, path.first(4), 7);
  EXPECT_TRUE(tree.keep(kRoot, path.first(5), 5).empty());
  EXPECT_EQ(tree.kept_along(kRoot, tokens, 6), (std::vector<PrefixTree::KeptId>{2, 5, 6}));
  EXPECT_EQ(tree.kept_along(kRoot, tokens, 5), (std::vector<PrefixTree::KeptId>{2, 5}));
  EXPECT_EQ(tree.kept_along(kRoot, tokens, 4), (std::vector<PrefixTree::KeptId>{2}));
  EXPECT_EQ(tree.kept_along(kRoot, other, 9), (std::vector<PrefixTree::KeptId>{2, 3}));
  EXPECT_TRUE(tree.kept_along(kRoot, path.last(2), 2).empty());
}

TEST(PrefixTreeTest, NobodyWaitsForWhatWasRefused) {
  PrefixTree tree(100, {10, 10});
  const std::vector<base::TokenId> tokens{1, 2, 3, 4};
  tree.promise(kRoot, tokens, 7);
  EXPECT_EQ(tree.find(kRoot, tokens, 4).n_promised, 4);
  tree.set_budget(20);
  EXPECT_EQ(tree.keep(kRoot, tokens, 1), (std::vector<PrefixTree::KeptId>{1}));
  EXPECT_EQ(tree.find(kRoot, tokens, 4).n_promised, 0);
  tree.withdraw(7);
}

}  // namespace
}  // namespace longreach::generation
