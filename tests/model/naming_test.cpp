#include "model/schema/naming.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace longreach::model {
namespace {

/// Rows as a scheme of another origin would have them.
constexpr std::array kOthers = {
    Naming{"model.embeddings.weight", "emb.weight"},
    Naming{"model.layers.0.pre_norm.*", "blocks.0.ln0.*"},
    Naming{"model.layers.*.attn.w_lora.lora.0.weight", "blocks.*.att.w1", true},
    Naming{"model.layers.*.attn.r_proj.weight", "blocks.*.att.receptance.weight"},
    Naming{"rwkv.*", "*"},
};

TEST(Naming, TakesThePrefixOfPublishedFilesOff) {
  EXPECT_EQ(native_name("rwkv.blocks.0.att.w1"), "blocks.0.att.w1");
  EXPECT_EQ(native_name("rwkv.rwkv.emb.weight"), "rwkv.emb.weight");
  EXPECT_EQ(native_name("moba.0.att.key.weight"), "moba.0.att.key.weight");
  EXPECT_EQ(native_name("blocks.0.ln0.bias"), "blocks.0.ln0.bias");
  EXPECT_EQ(native_name("rwkv."), "");
  EXPECT_EQ(native_name("rwkv"), "rwkv");
}

TEST(Naming, PutsWhatAStarStandsForIntoTheNativeName) {
  const auto name = [](std::string_view in_file) { return native_name(in_file, kOthers); };
  EXPECT_EQ(name("model.embeddings.weight"), "emb.weight");
  EXPECT_EQ(name("model.embeddings.weight2"), "model.embeddings.weight2");
  EXPECT_EQ(name("model.layers.0.pre_norm.bias"), "blocks.0.ln0.bias");
  EXPECT_EQ(name("model.layers.17.attn.r_proj.weight"), "blocks.17.att.receptance.weight");
  EXPECT_EQ(name("model.layers.attn.r_proj.weight"), "model.layers.attn.r_proj.weight");
  EXPECT_EQ(name("rwkv.head.weight"), "head.weight");
}

TEST(Naming, TurnsMatricesThatLieTheOtherWayRound) {
  const std::vector<float> numbers = {0, 1, 2, 3, 4, 5};
  const Tensor stored{
      base::DType::kF32, {2, 3}, {3, 1}, reinterpret_cast<const std::byte*>(numbers.data())};
  const NativeTensor factor =
      native_tensor("model.layers.3.attn.w_lora.lora.0.weight", stored, kOthers);
  EXPECT_EQ(factor.name, "blocks.3.att.w1");
  EXPECT_EQ(factor.tensor.shape, (std::vector<std::size_t>{3, 2}));
  EXPECT_EQ(factor.tensor.at(1), 3.0F);  // row 0, column 1: as stored, row 1, column 0
  EXPECT_EQ(factor.tensor.at(2), 1.0F);
  const NativeTensor layer = native_tensor("model.layers.3.attn.r_proj.weight", stored, kOthers);
  EXPECT_EQ(layer.tensor.shape, stored.shape);
  EXPECT_EQ(layer.tensor.at(1), 1.0F);
}

}  // namespace
}  // namespace longreach::model
