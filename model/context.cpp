#include "model/context.hpp"

#include "model/cache/attention_span.hpp"

namespace longreach::model {
namespace {

std::size_t largest_rank(const ModelConfig& config) {
  std::size_t largest = 0;
  for (const LowRanks& ranks : config.low_ranks) {
    largest = std::max({largest, ranks.w, ranks.a, ranks.v, ranks.g});
  }
  return largest;
}

}  // namespace

Workspace::Workspace(const ModelConfig& config, std::size_t n_workers)
    : x(kStepRows, config.n_embd),
      v_first(kStepRows, config.n_embd),
      normed(kStepRows, config.n_embd),
      mixed(kStepRows, config.n_embd),
      r(kStepRows, config.n_embd),
      w(kStepRows, config.n_embd),
      k(kStepRows, config.n_embd),
      v(kStepRows, config.n_embd),
      a(kStepRows, config.n_embd),
      g(kStepRows, config.n_embd),
      y(kStepRows, config.n_embd),
      out(kStepRows, config.n_embd),
      hidden(kStepRows, config.ffn_size),
      low_rank(kStepRows, largest_rank(config)),
      workers(n_workers) {}

partition::RunSizes run_sizes(const ModelConfig& config, const AttentionConfig& attention,
                              base::WeightFormat weights, std::size_t context_tokens,
                              std::size_t call_tokens, std::size_t n_threads) {
  partition::RunSizes sizes;
  for (const BlockRef& block : config.execution_order()) {
    partition::BlockSizes& own = sizes.blocks.emplace_back(partition::BlockSizes{block.kind});
    if (block.kind == BlockKind::kSparse) continue;
    const LowRanks& ranks = config.low_ranks[block.index];
    own.low_ranks = {ranks.w, ranks.a, ranks.g};
    if (block.index != 0) own.low_ranks.push_back(ranks.v);
  }
  sizes.vocab_size = config.vocab_size;
  sizes.n_embd = config.n_embd;
  sizes.n_head = config.n_head;
  sizes.ffn_size = config.ffn_size;
  sizes.chunk_size = attention.chunk_size;
  sizes.keeps_cache = attention.mode != AttentionMode::kNone;
  sizes.attended = attended_rows(attention, context_tokens);
  sizes.weights = weights;
  sizes.kv = attention.kv;
  sizes.context_tokens = context_tokens;
  sizes.slice_tokens = kStepRows;
  // Only the reference mode needs a call's hidden rows all at once: its eviction asks them all.
  sizes.held_tokens = attention.mode == AttentionMode::kReference ? call_tokens : 0;
  sizes.n_threads = n_threads;
  return sizes;
}

}  // namespace longreach::model
