#include "generation/prefix_tree.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace longreach::generation {
namespace {

std::size_t common_length(PrefixTree::Tokens a, PrefixTree::Tokens b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

PrefixTree::PrefixTree(std::size_t budget_bytes, SequenceBytes bytes)
    : budget_bytes_(budget_bytes), sequence_bytes_(bytes) {}

template <typename Visit>
void PrefixTree::walk(Root root, Tokens tokens, Visit&& visit) const {
  const auto begin = roots_.find(root);
  if (begin == roots_.end()) return;
  const Node* node = &begin->second;
  while (node->n_tokens < tokens.size()) {
    const auto child = node->children.find(tokens[node->n_tokens]);
    if (child == node->children.end()) return;
    const Node& next = *child->second;
    const std::size_t n_common =
        node->n_tokens + common_length(tokens.subspan(node->n_tokens), next.edge);
    visit(next, n_common);
    if (n_common < next.n_tokens) return;
    node = &next;
  }
}

PrefixTree::Found PrefixTree::find(Root root, Tokens tokens, std::size_t most) const {
  Found found;
  walk(root, tokens.first(std::min(most, tokens.size())),
       [&found](const Node& node, std::size_t n) {
         found.n_common = n;
         if (n < node.n_tokens) return;
         if (node.kept) {
           found.n_kept = n;
           found.kept = node.kept->id;
         }
         if (node.kept || node.promised) found.n_promised = n;
       });
  return found;
}

std::vector<PrefixTree::KeptId> PrefixTree::kept_along(Root root, Tokens tokens,
                                                       std::size_t most) const {
  std::vector<KeptId> along;
  walk(root, tokens.first(std::min(most, tokens.size())),
       [&along](const Node& node, std::size_t n) {
         if (n == node.n_tokens && node.kept) along.push_back(node.kept->id);
       });
  return along;
}

void PrefixTree::use(KeptId kept) {
  Kept& used = *kept_.at(kept)->kept;
  used.clock = clock_;
  used.n_uses = ++n_uses_;
}

PrefixTree::Node& PrefixTree::insert(Root root, Tokens tokens) {
  LR_CHECK(!tokens.empty());
  Node* node = &roots_[root];
  while (node->n_tokens < tokens.size()) {
    const Tokens rest = tokens.subspan(node->n_tokens);
    std::unique_ptr<Node>& child = node->children[rest.front()];
    if (!child) {
      child = std::make_unique<Node>();
      child->edge.assign(rest.begin(), rest.end());
      child->n_tokens = tokens.size();
      child->parent = node;
      return *child;
    }
    const std::size_t n_common = common_length(rest, child->edge);
    if (n_common < child->edge.size()) {  // ends or parts inside the edge
      auto middle = std::make_unique<Node>();
      const auto cut = child->edge.begin() + static_cast<std::ptrdiff_t>(n_common);
      middle->edge.assign(child->edge.begin(), cut);
      middle->n_tokens = node->n_tokens + n_common;
      middle->parent = node;
      child->edge.erase(child->edge.begin(), cut);
      child->parent = middle.get();
      const base::TokenId first = child->edge.front();
      middle->children[first] = std::move(child);
      child = std::move(middle);
    }
    node = child.get();
  }
  return *node;
}

void PrefixTree::prune(Node* node) {
  const auto needed = [](const Node& n) { return n.parent == nullptr || n.kept || n.promised; };
  while (!needed(*node) && node->children.empty()) {
    Node* const parent = node->parent;
    parent->children.erase(node->edge.front());
    node = parent;
  }
  if (needed(*node) || node->children.size() > 1) return;
  // Its only child takes its place.
  std::unique_ptr<Node> child = std::move(node->children.begin()->second);
  child->edge.insert(child->edge.begin(), node->edge.begin(), node->edge.end());
  child->parent = node->parent;
  node->parent->children[child->edge.front()] = std::move(child);
}

bool PrefixTree::can_hold(std::size_t n_tokens_in_memory) const {
  return budget_bytes_ > 0 && sequence_bytes_.of(n_tokens_in_memory) <= budget_bytes_;
}

std::size_t PrefixTree::tokens_in_files(Root root, Tokens tokens) const {
  std::size_t n_tokens = 0;
  for (const auto& [id, node] : kept_) {
    if (node->kept->memory != Memory::kFiles || node->n_tokens > tokens.size()) continue;
    if (find(root, tokens, node->n_tokens).kept == id)
      n_tokens = std::max(n_tokens, node->n_tokens);
  }
  return n_tokens;
}

void PrefixTree::promise(Root root, Tokens tokens, Owner owner) {
  if (!can_hold(tokens.size() - tokens_in_files(root, tokens))) return;
  Node& node = insert(root, tokens);
  if (node.kept || node.promised) return;
  node.promised = owner;
  promised_.emplace(owner, &node);
}

void PrefixTree::withdraw(Owner owner) {
  // One by one: the others stay where they are as long as they are promised.
  for (auto next = promised_.find(owner); next != promised_.end(); next = promised_.find(owner)) {
    Node* const node = next->second;
    promised_.erase(next);
    node->promised.reset();
    prune(node);
  }
}

std::vector<PrefixTree::KeptId> PrefixTree::keep(Root root, Tokens tokens, KeptId kept,
                                                 Memory memory) {
  Node& node = insert(root, tokens);
  if (node.promised) {
    std::erase_if(promised_, [&node](const auto& each) { return each.second == &node; });
    node.promised.reset();
  }
  const std::size_t n_in_files =
      memory == Memory::kFiles ? tokens.size() : tokens_in_files(root, tokens);
  if (!can_hold(tokens.size() - n_in_files) || (node.kept && node.kept->n_pins > 0)) {
    prune(&node);
    return {kept};
  }
  std::vector<KeptId> gone;
  if (node.kept) {
    gone.push_back(node.kept->id);
    kept_.erase(node.kept->id);
  }
  node.kept = Kept{kept, memory, 0, clock_, ++n_uses_};
  kept_[kept] = &node;
  shrink(gone);
  return gone;
}

void PrefixTree::pin(KeptId kept) { ++kept_.at(kept)->kept->n_pins; }

void PrefixTree::unpin(KeptId kept) { --kept_.at(kept)->kept->n_pins; }

std::size_t PrefixTree::pinned_bytes() const {
  std::size_t sum = 0;
  for (const auto& [id, node] : kept_) {
    if (node->kept->n_pins > 0) sum += own_bytes(*node);
  }
  return sum;
}

std::vector<PrefixTree::KeptId> PrefixTree::set_budget(std::size_t bytes) {
  budget_bytes_ = bytes;
  std::vector<KeptId> gone;
  shrink(gone);
  return gone;
}

void PrefixTree::shrink(std::vector<KeptId>& gone) {
  while (bytes() > budget_bytes_) {
    const auto least = std::ranges::min_element(kept_, {}, [this](const auto& each) {
      const Kept& kept = *each.second->kept;
      return std::tuple(kept.n_pins > 0, value_of(*each.second), kept.n_uses);
    });
    if (least->second->kept->n_pins > 0) return;
    Node* const victim = least->second;
    clock_ = std::max(clock_, value_of(*victim));
    gone.push_back(least->first);
    victim->kept.reset();
    kept_.erase(least);
    prune(victim);
  }
}

std::size_t PrefixTree::tokens_after_kept(const Node& node) const {
  const Node* before = node.parent;
  while (before != nullptr && !before->kept) before = before->parent;
  return node.n_tokens - (before != nullptr ? before->n_tokens : 0);
}

std::size_t PrefixTree::own_bytes(const Node& node) const {
  const bool counts = node.kept->memory == Memory::kOwn;
  return sequence_bytes_.of(counts ? tokens_after_kept(node) : 0);
}

double PrefixTree::value_of(const Node& node) const {
  return node.kept->clock + static_cast<double>(tokens_after_kept(node)) /
                                static_cast<double>(std::max<std::size_t>(own_bytes(node), 1));
}

std::size_t PrefixTree::bytes() const {
  std::size_t sum = 0;
  for (const auto& [id, node] : kept_) sum += own_bytes(*node);
  return sum;
}

}  // namespace longreach::generation
