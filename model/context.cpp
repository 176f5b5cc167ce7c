#include "model/context.hpp"

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
    : x(kSliceTokens, config.n_embd),
      v_first(kSliceTokens, config.n_embd),
      normed(kSliceTokens, config.n_embd),
      mixed(kSliceTokens, config.n_embd),
      r(kSliceTokens, config.n_embd),
      w(kSliceTokens, config.n_embd),
      k(kSliceTokens, config.n_embd),
      v(kSliceTokens, config.n_embd),
      a(kSliceTokens, config.n_embd),
      g(kSliceTokens, config.n_embd),
      y(kSliceTokens, config.n_embd),
      out(kSliceTokens, config.n_embd),
      hidden(kSliceTokens, config.ffn_size),
      low_rank(kSliceTokens, largest_rank(config)),
      workers(n_workers) {}

}  // namespace longreach::model
