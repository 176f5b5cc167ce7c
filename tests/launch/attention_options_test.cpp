#include "launch/options/attention_options.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace longreach::launch {
namespace {

TEST(AttentionOptions, AreAllInTheText) {
  model::AttentionConfig attention;
  EXPECT_EQ(attention_text(attention),
            "attention moba, chunk_size 2048, top_k 3, kv_max 20000, kv_min 16000, kv_window 2000, "
            "decode_full 0, kv f32, exchange auto");
  attention.decode_full = true;
  attention.exchange = model::ExchangeWay::kGather;
  EXPECT_TRUE(attention_text(attention).ends_with("decode_full 1, kv f32, exchange gather"));
}

TEST(AttentionOptions, APartHasItsOwn) {
  const model::AttentionConfig attention;
  const eval::Settings chunks = attention_settings(attention, AttentionPart::kChunks);
  EXPECT_EQ(chunks,
            (eval::Settings{{"chunk_size", std::uint64_t{2048}}, {"top_k", std::uint64_t{3}}}));
  const eval::Settings cache = attention_settings(attention, AttentionPart::kCache);
  EXPECT_EQ(cache, (eval::Settings{{"kv", std::string("f32")}}));
}

TEST(AttentionOptions, TheModelDecidesWhatIsNotAskedFor) {
  model::AttentionConfig of_model;
  of_model.chunk_size = 64;
  of_model.top_k = 5;
  model::AttentionConfig asked = attention_defaults();
  asked.top_k = 2;
  asked.kv_max = 100;
  const model::AttentionConfig resolved = resolve_attention(asked, of_model);
  EXPECT_EQ(resolved.chunk_size, 64U);
  EXPECT_EQ(resolved.top_k, 2U);
  EXPECT_EQ(resolved.kv_max, 100U);
}

}  // namespace
}  // namespace longreach::launch
