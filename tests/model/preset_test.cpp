#include "model/checkpoint/preset.hpp"

#include "model/checkpoint/checkpoint.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "model/checkpoint/random_numbers.hpp"
#include "model/schema/config.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/random.hpp"
#include "tests/support/source_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace longreach::model {
namespace {

std::size_t n_parameters(const Checkpoint& checkpoint) {
  std::size_t sum = 0;
  for (const auto& [name, tensor] : checkpoint.tensors()) sum += tensor.size();
  return sum;
}

TEST(RandomNumbers, HaveTheMeanAndDeviationTheyAreToldAndStayWithinBounds) {
  const RandomNumbers numbers{key_of("a"), 3, 0.5F};
  constexpr std::size_t kCount = 100000;
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double difference = double{numbers.at(i)} - 3;
    ASSERT_LE(std::abs(difference), 3.5 * 0.5);
    sum += difference;
    squares += difference * difference;
  }
  // Of the mean, 6 standard errors; of the variance, 6 of a normal law's, which this is below.
  EXPECT_LE(std::abs(sum / kCount), 6 * 0.5 / std::sqrt(kCount));
  EXPECT_LE(std::abs(squares / kCount / 0.25 - 1), 6 * std::sqrt(2.0 / kCount));
}

TEST(RandomNumbers, DifferByKeyAndIndex) {
  std::set<float> seen;
  for (const auto* const name : {"a", "b", "ab", "ba"}) {
    for (std::size_t i = 0; i < 100; ++i) seen.insert(RandomNumbers{key_of(name)}.at(i));
  }
  EXPECT_GE(seen.size(), 395U);  // two of 400 may be one of some 2^17 values by chance
}

TEST(RandomNumbers, StayWhatTheyAre) {
  // Hashes of logits are compared across versions and machines. Expected values: the same formula
  // in whole numbers of Python and float32 of NumPy.
  EXPECT_EQ(RandomNumbers{key_of("rwkv-x-tiny emb.weight")}.at(0), -0x1.618e0cp-4F);
  EXPECT_EQ(RandomNumbers{key_of("rwkv-x-tiny emb.weight")}.at(std::size_t{1} << 40),
            0x1.486648p-1F);
}

TEST(Preset, HasAsManyParametersAsThePublishedModel) {
  // Figures of model-spec section 6.
  EXPECT_EQ(n_parameters(Checkpoint::open("preset:rwkv7-0.2b")), 191'034'624U);
  EXPECT_EQ(n_parameters(Checkpoint::open("preset:rwkv-x-0.2b")), 219'361'536U);
  EXPECT_EQ(n_parameters(Checkpoint::open("preset:rwkv-x-3.6b")), 3'576'983'040U);
  EXPECT_EQ(n_parameters(Checkpoint::open("preset:rwkv-x-tiny")), 1'379'456U);
}

TEST(Preset, HasTensorsOfTheSameNamesAndShapesAsTheDemoModel) {
  const Checkpoint demo = Checkpoint::open(test::source_folder() / "configs/demo/rwkv-x-tiny.pth");
  const Checkpoint preset = Checkpoint::open("preset:rwkv-x-tiny");
  ASSERT_EQ(preset.tensors().size(), demo.tensors().size());
  for (const auto& [name, tensor] : demo.tensors()) {
    const Tensor* const made = preset.find(name);
    ASSERT_NE(made, nullptr) << name;
    EXPECT_EQ(made->shape, tensor.shape) << name;
    EXPECT_EQ(made->dtype, tensor.dtype) << name;
    EXPECT_TRUE(made->is_contiguous()) << name;
  }
}

TEST(Preset, IsConfiguredWithoutAFile) {
  const ModelConfig large = read_config(Checkpoint::open("preset:rwkv7-1.5b"));
  EXPECT_EQ(large.n_embd, 2048U);
  EXPECT_EQ(large.n_rwkv, 24U);
  EXPECT_EQ(large.n_sparse, 0U);
  EXPECT_EQ(large.low_ranks[1].w, 96U);
  EXPECT_EQ(large.low_ranks[1].a, 96U);
  EXPECT_EQ(large.low_ranks[1].v, 64U);
  EXPECT_EQ(large.low_ranks[1].g, 256U);
  EXPECT_EQ(large.dtype, base::DType::kBf16);
  const ModelConfig tiny = read_config(Checkpoint::open("preset:rwkv-x-tiny"));
  EXPECT_EQ(tiny.attention.chunk_size, 64U);
  EXPECT_EQ(tiny.attention.top_k, 3U);
  EXPECT_EQ(tiny.tokenizer, "bytes");
}

TEST(Preset, HasSparseChannelMixesWhereItsNameSaysSo) {
  // Of rows as a layer norm leaves them: four of five hidden numbers are not above zero.
  const Checkpoint preset = Checkpoint::open("preset:rwkv7-0.2b-sparse");
  constexpr std::size_t kChannels = 768, kHidden = 3072, kRows = 4;
  const Tensor& scale = preset.get("blocks.5.ln2.weight", {kChannels});
  const Tensor& bias = preset.get("blocks.5.ln2.bias", {kChannels});
  const Tensor& shift = preset.get("blocks.5.ffn.x_k", {kChannels});
  const Tensor& key = preset.get("blocks.5.ffn.key.weight", {kHidden, kChannels});
  test::Random random;
  std::size_t n_zero = 0;
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto now = random.normal(kChannels), before = random.normal(kChannels);
    std::vector<double> mixed(kChannels);
    for (std::size_t c = 0; c < kChannels; ++c) {
      const double x = double{now[c]} + double{before[c] - now[c]} * double{shift.at(c)};
      mixed[c] = x * double{scale.at(c)} + double{bias.at(c)};
    }
    for (std::size_t f = 0; f < kHidden; ++f) {
      double sum = 0;
      for (std::size_t c = 0; c < kChannels; ++c)
        sum += mixed[c] * double{key.at(f * kChannels + c)};
      n_zero += sum <= 0 ? 1 : 0;
    }
  }
  EXPECT_NEAR(static_cast<double>(n_zero) / (kRows * kHidden), 0.8, 0.03);
}

TEST(Preset, RefusesNamesThatItDoesNotHave) {
  EXPECT_EQ(find_preset("model.pth"), nullptr);
  EXPECT_EQ(find_preset("./preset:rwkv-x-tiny"), nullptr);
  for (const auto* const name : {"preset:", "preset:rwkv", "preset:rwkv-x-tiny2"}) {
    test::expect_refused([&] { Checkpoint::open(name); }, name, "rwkv-x-3.6b, rwkv7-0.2b");
  }
}

TEST(MatrixRows, OfAPresetAreTheSameWhateverElseIsMade) {
  test::Random random;
  const Checkpoint checkpoint = Checkpoint::open("preset:rwkv-x-tiny");
  const Tensor& tensor = checkpoint.get("blocks.1.ffn.key.weight", {512, 128});
  MatrixRows rows(tensor, 512);
  for (int i = 0; i < 40; ++i) {
    const std::size_t begin = random.whole(0, 511), end = random.whole(begin + 1, 512);
    const kernels::StridedMatrix layer = rows.read({begin, end});
    const kernels::StridedMatrix factor = layer.transposed();
    ASSERT_EQ(layer.n_out, end - begin);
    ASSERT_EQ(layer.n_in, 128U);
    ASSERT_EQ(factor.n_out, 128U);
    ASSERT_EQ(factor.n_in, end - begin);
    std::vector<float> row(128);
    read_row(tensor, end - 1, row);
    for (std::size_t c = 0; c < 128; ++c) {
      const float expected = tensor.at((end - 1) * 128 + c);
      ASSERT_EQ(layer.at(end - 1 - begin, c), expected);
      ASSERT_EQ(factor.at(c, end - 1 - begin), expected);
      ASSERT_EQ(row[c], expected);
    }
  }
}

TEST(MatrixRows, OfAFileLieWhereTheFileHasThem) {
  const std::vector<float> numbers = {0, 1, 2, 3, 4, 5};
  const Tensor transposed{
      base::DType::kF32, {1, 3, 2}, {9, 1, 3}, reinterpret_cast<const std::byte*>(numbers.data())};
  MatrixRows two_rows(transposed, 2);
  const kernels::StridedMatrix rows = two_rows.read({1, 3});
  EXPECT_EQ(rows.data, transposed.data + sizeof(float));
  EXPECT_EQ(rows.at(0, 1), 4.0F);
  EXPECT_EQ(rows.transposed().at(1, 0), 4.0F);
  std::vector<float> row(2);
  read_row(transposed, 2, row);
  EXPECT_EQ(row, (std::vector<float>{2, 5}));
}

}  // namespace
}  // namespace longreach::model
