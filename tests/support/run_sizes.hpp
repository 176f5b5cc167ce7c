/// Sizes of published models, for tests of memory and plans. They are counted here by hand, from
/// model-spec section 6: what the program counts is compared with them
/// (tests/model/run_sizes_test).
#pragma once

#include "partition/memory.hpp"

#include <algorithm>
#include <cstddef>

namespace longreach::test {

/// Vocabulary and last norm, with weights in bf16.
inline void set_vocabulary(partition::RunSizes& sizes, std::size_t vocab_size) {
  sizes.vocab_size = vocab_size;
  sizes.output = {};
  sizes.output.add_whole(2 * sizes.n_embd * 4);
  sizes.output.add_divided(partition::padded(vocab_size) / 32, 32 * sizes.n_embd * 2);
  sizes.buffers.logit_bytes = 64 * (vocab_size + sizes.n_embd) * 4;
}

/// The sum of an RWKV-7 block's low ranks in the 0.2B model.
inline std::size_t low_ranks_of(std::size_t block) { return 64 + 64 + 128 + (block == 0 ? 0 : 32); }

/// The vectors of a block, of 768 channels each.
inline std::size_t n_vectors_of(partition::BlockKind kind, std::size_t block) {
  if (kind == partition::BlockKind::kSparse) return 5;
  return block == 0 ? 18 : 19;  // 7 shifts, 3 scales, 4 norms of 2, w0, a0 but v0 in all but one
}

/// A block of the published 0.2B model in bf16.
inline partition::BlockSizes small_block(partition::BlockKind kind, std::size_t block) {
  constexpr std::size_t kChannels = 768, kHidden = 3072, kHeads = 12, kHeadSize = 64;
  const bool is_rwkv = kind == partition::BlockKind::kRwkv;
  const std::size_t low_ranks = is_rwkv ? low_ranks_of(block) : 0;
  partition::BlockSizes sizes{kind};
  sizes.weights.add_whole(n_vectors_of(kind, block) * kChannels * 4 + low_ranks * kChannels * 2);
  sizes.weights.add_divided(kHeads, kHeadSize * (3 * kChannels + low_ranks) * 2);
  sizes.weights.add_divided(kHidden / 32, 32 * kChannels * 2);
  sizes.weights.add_divided(kChannels / 32, 32 * (kChannels + kHidden) * 2);
  sizes.multiply_adds.add_whole(low_ranks * kChannels);
  sizes.multiply_adds.add_divided(kHeads, kHeadSize * (3 * kChannels + low_ranks));
  sizes.multiply_adds.add_divided(kHidden / 32, 32 * kChannels);
  sizes.multiply_adds.add_divided(kChannels / 32, 32 * (kChannels + kHidden));
  sizes.state.add_whole((is_rwkv ? 2 : 1) * kChannels * 4);
  if (is_rwkv) sizes.state.add_divided(kHeads, kHeadSize * kHeadSize * 4);
  return sizes;
}

/// The published 0.2B model (L12 C768, 4 sparse blocks) in bf16, with a cache in f32. What a token
/// reads of that is as at the end of 64000 tokens, whatever the context.
inline partition::RunSizes small_model(std::size_t context_tokens = 64000) {
  using partition::BlockKind;
  partition::RunSizes sizes;
  sizes.n_embd = 768;
  sizes.n_head = 12;
  sizes.ffn_size = 3072;
  for (std::size_t i = 0; i < 12; ++i) {
    sizes.blocks.push_back(small_block(BlockKind::kRwkv, i));
    if (i % 3 == 2) sizes.blocks.push_back(small_block(BlockKind::kSparse, i / 3));
  }
  sizes.input.add_whole(2 * 768 * 4);
  set_vocabulary(sizes, 65536);
  sizes.chunk_size = 2048;
  const std::size_t n_open = context_tokens % 2048;
  sizes.cache = {.chunk_bytes = 2 * 2048 * 768 * 4,
                 .open_bytes = (n_open + partition::padded(n_open)) * 768 * 4,
                 .mean_bytes = 768 * 4};
  sizes.attended = {
      .recent_tokens = 64000 % 2048, .n_chosen = 2, .n_scored = 31, .row_bytes = 768 * 4};
  const std::size_t n_slice = std::min<std::size_t>(context_tokens, 1536);
  sizes.buffers.row_bytes = n_slice * (12 * 768 + 3072 + 64 + 64 + 32 + 128) * 4;
  sizes.buffers.score_bytes = 64 * 4;
  sizes.buffers.most_scored = 8192;
  sizes.context_tokens = context_tokens;
  sizes.step_rows = n_slice;
  sizes.n_threads = 2;
  return sizes;
}

}  // namespace longreach::test
