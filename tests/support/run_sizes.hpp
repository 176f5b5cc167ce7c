/// Sizes of published models, for tests of memory and plans.
#pragma once

#include "partition/memory.hpp"

#include <cstddef>

namespace longreach::test {

/// The published 0.2B model (L12 C768, 4 sparse blocks) with a context of 64000 tokens.
inline partition::RunSizes small_model() {
  using partition::BlockKind;
  partition::RunSizes sizes;
  sizes.vocab_size = 65536;
  sizes.n_embd = 768;
  sizes.n_head = 12;
  sizes.ffn_size = 3072;
  for (std::size_t i = 0; i < 12; ++i) {
    partition::BlockSizes& rwkv =
        sizes.blocks.emplace_back(partition::BlockSizes{BlockKind::kRwkv, {64, 64, 128}});
    if (i != 0) rwkv.low_ranks.push_back(32);
    if (i % 3 == 2) sizes.blocks.push_back({BlockKind::kSparse});
  }
  sizes.chunk_size = 2048;
  sizes.weights = base::WeightFormat::kBf16;
  sizes.context_tokens = 64000;
  sizes.attended = {.recent_tokens = 64000 % 2048, .n_chosen = 2, .n_scored = 31};
  sizes.slice_tokens = 256;
  sizes.n_threads = 2;
  return sizes;
}

}  // namespace longreach::test
