#include "model/cache/attention_span.hpp"

#include "model/step.hpp"

#include <gtest/gtest.h>

namespace longreach::model {
namespace {

ModelConfig model_with(std::size_t n_sparse) {
  ModelConfig model;
  model.n_sparse = n_sparse;
  return model;
}

TEST(PromptStepRows, GrowWithTheChunksThatQueriesChooseFrom) {
  const ModelConfig model = model_with(4);
  AttentionConfig attention;
  attention.chunk_size = 2048;
  attention.top_k = 3;
  const auto rows_at = [&](std::size_t position) {
    return prompt_step_rows(model, attention, position);
  };
  EXPECT_EQ(rows_at(0), 512U);
  EXPECT_EQ(rows_at(16 * 2048 - 1), 512U) << "15 chunks, 128 queries each: 960 rows";
  EXPECT_EQ(rows_at(16 * 2048), 1024U);
  EXPECT_EQ(rows_at(24 * 2048), 1536U);
  EXPECT_EQ(rows_at(32 * 2048), 2048U);
  EXPECT_EQ(rows_at(std::size_t{1} << 40), 2048U);
  attention.top_k = 9;
  EXPECT_EQ(rows_at(32 * 2048), 512U);
  EXPECT_EQ(rows_at(64 * 2048), 1024U);
}

TEST(PromptStepRows, AreTheUsualOnesWhereNothingIsChosen) {
  constexpr std::size_t kDeep = 1'000'000;
  AttentionConfig attention;
  EXPECT_EQ(prompt_step_rows(model_with(0), attention, kDeep), kStepRows);
  attention.top_k = 1;  // the own chunk
  EXPECT_EQ(prompt_step_rows(model_with(4), attention, kDeep), kStepRows);
  attention.top_k = 1000;
  EXPECT_EQ(prompt_step_rows(model_with(4), attention, kDeep), kStepRows);
  attention.top_k = 3;
  for (const AttentionMode mode :
       {AttentionMode::kFull, AttentionMode::kReference, AttentionMode::kNone}) {
    attention.mode = mode;
    EXPECT_EQ(prompt_step_rows(model_with(4), attention, kDeep), kStepRows);
  }
}

}  // namespace
}  // namespace longreach::model
