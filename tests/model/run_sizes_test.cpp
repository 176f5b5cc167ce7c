#include "model/run_sizes.hpp"

#include "model/schema/tensors.hpp"
#include "model/state.hpp"
#include "partition/cost.hpp"
#include "tests/support/factored_model.hpp"
#include "tests/support/run_sizes.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

namespace longreach::model {
namespace {

using partition::MemoryNeed;
using partition::RunSizes;
using partition::Shard;

ModelConfig small_config() { return read_config(Checkpoint::open("preset:rwkv-x-0.2b")); }

/// The published 0.2B model in bf16.
RunSizes small_sizes(const AttentionConfig& attention = {}, std::size_t call_tokens = 1) {
  return run_sizes(small_config(), attention, base::WeightFormat::kBf16, 64000, call_tokens, 2);
}

AttentionConfig with_cache_in(base::KvFormat format) {
  AttentionConfig attention;
  attention.kv = format;
  return attention;
}

AttentionConfig with_mode(AttentionMode mode) {
  AttentionConfig attention;
  attention.mode = mode;
  return attention;
}

double ratio(std::size_t got, double want) { return static_cast<double>(got) / want; }

TEST(RunSizes, AreThoseCountedByHand) {
  const RunSizes sizes = small_sizes(), by_hand = test::small_model();
  ASSERT_EQ(sizes.blocks.size(), by_hand.blocks.size());
  for (const std::size_t count : {1, 2, 3, 5, 12, 13, 100}) {
    for (std::size_t i = 0; i < count; ++i) {
      const Shard shard{i, count};
      for (std::size_t block = 0; block < sizes.blocks.size(); ++block) {
        ASSERT_EQ(block_memory(sizes, block, shard), block_memory(by_hand, block, shard))
            << block << " " << i << " of " << count;
      }
      ASSERT_EQ(stage_memory(sizes, {0, 16}, shard), stage_memory(by_hand, {0, 16}, shard));
    }
    ASSERT_EQ(block_reads(sizes, 0, count), block_reads(by_hand, 0, count));
    ASSERT_EQ(block_reads(sizes, 3, count), block_reads(by_hand, 3, count));
    for (std::size_t block = 0; block < sizes.blocks.size(); ++block) {
      ASSERT_EQ(block_multiply_adds(sizes, block, count),
                block_multiply_adds(by_hand, block, count))
          << block << " of " << count;
    }
  }
  EXPECT_EQ(sizes.step_rows, by_hand.step_rows);
}

TEST(RunSizes, APromptRowIsMultipliedByEveryWeightBesideTheVocabularys) {
  // Without attention's own products.
  const RunSizes sizes = small_sizes(with_mode(AttentionMode::kNone));
  std::size_t sum = 0;
  for (std::size_t i = 0; i < sizes.blocks.size(); ++i) sum += block_multiply_adds(sizes, i, 1);
  EXPECT_NEAR(ratio(sum, 219361536.0 - 2 * 65536.0 * 768), 1, 0.01);
}

TEST(RunSizes, MultiplyAddsDoNotDependOnTheFormatOfWeights) {
  const auto multiply_adds = [](base::WeightFormat format) {
    return block_multiply_adds(run_sizes(small_config(), {}, format, 64000, 1, 2), 1, 2);
  };
  EXPECT_EQ(multiply_adds(base::WeightFormat::kInt4), multiply_adds(base::WeightFormat::kF32));
}

TEST(RunSizes, APromptsStepsAreAsLongAsTheContextAtTheMost) {
  const auto step_rows = [](std::size_t context_tokens) {
    return run_sizes(small_config(), {}, base::WeightFormat::kBf16, context_tokens, 1, 2).step_rows;
  };
  EXPECT_EQ(step_rows(0), 1U);
  EXPECT_EQ(step_rows(100), 100U);
  EXPECT_EQ(step_rows(16000), 512U);
  EXPECT_EQ(step_rows(1000000), 2048U);
}

TEST(RunSizes, AgreeWithThePublishedOnes) {
  const MemoryNeed need = memory_need(small_sizes());
  // 219,361,536 parameters less the embedding (65536 x 768), which stays in the file.
  EXPECT_NEAR(ratio(need.weights, 2.0 * (219361536.0 - 65536.0 * 768)), 1, 0.01);
  EXPECT_NEAR(ratio(need.states, 2.36e6), 1, 0.05);  // of which shifts are a little
  // 12.3 kB per token of 32 whole chunks in 16 bits, so twice that in f32, plus means.
  EXPECT_NEAR(ratio(need.cache, 2 * 12.3e3 * 65536), 1, 0.01);
  EXPECT_EQ(need.means, 4U * 32 * 768 * 4) << "31 closed chunks fill a panel of 32";
}

TEST(RunSizes, AFormatOfFewerBitsMakesTheCacheSmallerAndNothingElse) {
  const MemoryNeed f32 = memory_need(small_sizes());
  const MemoryNeed bf16 = memory_need(small_sizes(with_cache_in(base::KvFormat::kBf16)));
  const MemoryNeed int8 = memory_need(small_sizes(with_cache_in(base::KvFormat::kInt8)));
  EXPECT_EQ(bf16.cache, f32.cache / 2);
  // Keys and values of 32 chunks, 12 heads of 64 numbers and a scale of 2 bytes, in 4 blocks.
  EXPECT_EQ(int8.cache, 4U * 2 * 65536 * 12 * (64 + 2));
  for (const MemoryNeed& need : {bf16, int8}) {
    EXPECT_EQ(need.total() - need.cache, f32.total() - f32.cache);
    EXPECT_EQ(need.means, f32.means);
  }
}

TEST(RunSizes, DecodingReadsAttendedRowsAsTheyAreKept) {
  constexpr std::size_t kSparse = 3, kRows = 2 * 2048 + 64000 % 2048;
  const auto reads = [](base::KvFormat format) {
    return block_reads(small_sizes(with_cache_in(format)), kSparse, 1);
  };
  const std::size_t f32 = reads(base::KvFormat::kF32);
  EXPECT_EQ(f32 - reads(base::KvFormat::kBf16), 2 * kRows * 768 * 2);
  EXPECT_EQ(f32 - reads(base::KvFormat::kInt8), 2 * kRows * 12 * (3 * 64 - 2));
}

TEST(RunSizes, WhatKeepsNoCacheNeedsNone) {
  const MemoryNeed with = memory_need(small_sizes());
  const MemoryNeed without = memory_need(small_sizes(with_mode(AttentionMode::kNone)));
  EXPECT_EQ(without.cache + without.means, 0U);
  EXPECT_LT(without.buffers, with.buffers);  // no scores of chunks
  EXPECT_EQ(without.weights + without.states, with.weights + with.states);
}

TEST(RunSizes, HeldCallsCostTheirRows) {
  const auto buffers = [](AttentionMode mode) {
    return memory_need(small_sizes(with_mode(mode), 64000)).buffers;
  };
  EXPECT_EQ(buffers(AttentionMode::kReference) - buffers(AttentionMode::kFull),
            64000U * 2 * 768 * 4);
}

void expect_sizes_are_those_loaded(const Checkpoint& checkpoint) {
  const ModelConfig config = read_config(checkpoint);
  const std::vector<BlockRef> order = config.execution_order();
  kernels::ThreadPool pool(1);
  for (const auto format : {base::WeightFormat::kF32, base::WeightFormat::kInt4}) {
    const RunSizes sizes = run_sizes(config, config.attention, format, 100, 100, 1);
    for (const Shard shard : {Shard{}, Shard{0, 3}, Shard{2, 3}}) {
      Weights weights = load_weights(checkpoint, config, {{0, order.size()}, shard}, format, pool);
      std::size_t n_bytes = 0;
      const auto count = [&]<typename Field>(const Field& field, const TensorSpec&) {
        if constexpr (std::is_same_v<Field, Vector>) n_bytes += field.size() * sizeof(float);
        if constexpr (std::is_same_v<Field, kernels::PackedMatrix>)
          n_bytes += field.panels().size();
      };
      for (std::size_t i = 0; i < order.size(); ++i) {
        n_bytes = 0;
        visit_tensors(weights.blocks[i], order[i], by_matrices(Extents(config, order[i]), count));
        EXPECT_EQ(n_bytes, block_memory(sizes, i, shard).weights) << order[i].name();
      }
      n_bytes = 0;
      visit_input_tensors(weights, count);
      visit_output_tensors(weights, count);
      EXPECT_EQ(n_bytes, stage_memory(sizes, {0, order.size()}, shard).weights);
    }
  }
}

TEST(RunSizes, OfWeightsAreWhatIsLoaded) {
  expect_sizes_are_those_loaded(Checkpoint::open("preset:rwkv-x-tiny"));
  const test::TempFolder folder;
  expect_sizes_are_those_loaded(Checkpoint::open(test::write_factored_model(folder)));
}

}  // namespace
}  // namespace longreach::model
