#include "model/schema/naming.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace longreach::model {
namespace {

constexpr std::array kRows = {
    Naming{"model.embeddings.weight", "emb.weight"},
    Naming{"model.layers.0.pre_norm.*", "blocks.0.ln0.*"},
    Naming{"model.layers.*.w.weight", "blocks.*.att.w1", Form::kTransposed},
    Naming{"model.layers.*.all", "blocks.*.att.x_{rwk}.vector"},
    Naming{"model.layers.*.r_k", "blocks.*.att.r_k", Form::kFlatHeads},
    Naming{"model.*", "*"},
};
constexpr Family kOther{"other", "nobody", kRows};

const Family& family_called(std::string_view name) {
  return *std::ranges::find(families(), name, &Family::name);
}

/// Numbers that count up from 0.
class Counting {
 public:
  explicit Counting(std::size_t size) : numbers_(size) {
    std::iota(numbers_.begin(), numbers_.end(), 0.0F);
  }

  /// Contiguous, at the first number.
  Tensor tensor(std::vector<std::size_t> shape) const {
    Tensor tensor{base::DType::kF32, shape, shape,
                  reinterpret_cast<const std::byte*>(numbers_.data())};
    std::size_t stride = 1;
    for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) tensor.strides[i] = stride;
    return tensor;
  }

 private:
  std::vector<float> numbers_;
};

TEST(Naming, TakesThePrefixOfPublishedFilesOff) {
  const auto name = [](std::string_view in_file) {
    return native_name(in_file, family_called("native"));
  };
  EXPECT_EQ(name("rwkv.blocks.0.att.w1"), "blocks.0.att.w1");
  EXPECT_EQ(name("rwkv.rwkv.emb.weight"), "rwkv.emb.weight");
  EXPECT_EQ(name("moba.0.att.key.weight"), "moba.0.att.key.weight");
  EXPECT_EQ(name("blocks.0.ln0.bias"), "blocks.0.ln0.bias");
  EXPECT_EQ(name("rwkv."), "");
  EXPECT_EQ(name("rwkv"), "rwkv");
}

TEST(Naming, PutsWhatAStarStandsForIntoTheNativeName) {
  const auto name = [](std::string_view in_file) { return native_name(in_file, kOther); };
  EXPECT_EQ(name("model.embeddings.weight"), "emb.weight");
  EXPECT_EQ(name("model.embeddings.weight2"), "embeddings.weight2");
  EXPECT_EQ(name("model.layers.0.pre_norm.bias"), "blocks.0.ln0.bias");
  EXPECT_EQ(name("model.layers.17.w.weight"), "blocks.17.att.w1");
  EXPECT_EQ(name("model.layers.*{ab}.w.weight"), "blocks.*{ab}.att.w1");
  EXPECT_EQ(name("layers.3.w.weight"), "layers.3.w.weight");
}

TEST(Naming, FindsTheNameInTheFile) {
  EXPECT_EQ(name_in_file("blocks.17.att.w1", kOther), "model.layers.17.w.weight");
  EXPECT_EQ(name_in_file("emb.weight", kOther), "model.embeddings.weight");
  EXPECT_EQ(name_in_file("head.weight", kOther), "head.weight");
  EXPECT_EQ(name_in_file("blocks.1.att.w1", family_called("native")), "blocks.1.att.w1");
}

TEST(Naming, TurnsMatricesThatLieTheOtherWayRound) {
  const Counting numbers(6);
  const TensorMap tensors = native_tensors(
      {{"model.layers.3.w.weight", numbers.tensor({2, 3})}, {"model.b", numbers.tensor({2, 3})}},
      kOther, "f");
  const Tensor& factor = tensors.at("blocks.3.att.w1");
  EXPECT_EQ(factor.shape, (std::vector<std::size_t>{3, 2}));
  EXPECT_EQ(factor.at(1), 3.0F);  // row 0, column 1: as stored, row 1, column 0
  EXPECT_EQ(factor.at(2), 1.0F);
  EXPECT_EQ(tensors.at("b").shape, (std::vector<std::size_t>{2, 3}));
  EXPECT_EQ(tensors.at("b").at(1), 1.0F);
}

TEST(Naming, DividesAStackInTheOrderOfItsLetters) {
  const Counting numbers(6);
  for (const std::vector<std::size_t>& shape :
       {std::vector<std::size_t>{3, 2}, std::vector<std::size_t>{3, 1, 1, 2}}) {
    const TensorMap tensors =
        native_tensors({{"model.layers.1.all", numbers.tensor(shape)}}, kOther, "f");
    ASSERT_EQ(tensors.size(), 3U);
    EXPECT_EQ(tensors.at("blocks.1.att.x_r.vector").at(1), 1.0F);
    EXPECT_EQ(tensors.at("blocks.1.att.x_w.vector").at(0), 2.0F);
    EXPECT_EQ(tensors.at("blocks.1.att.x_k.vector").at(1), 5.0F);
    EXPECT_EQ(tensors.at("blocks.1.att.x_k.vector").shape.back(), 2U);
  }
  for (const std::vector<std::size_t>& shape :
       {std::vector<std::size_t>{2, 3}, std::vector<std::size_t>{}}) {
    test::expect_refused(
        [&] {
          native_tensors({{"model.layers.1.all", numbers.tensor(shape)}}, kOther, "f");
        },
        "f: tensor model.layers.1.all", "3 vectors", "blocks.1.att.x_r.vector");
  }
}

TEST(Naming, DividesFlatHeads) {
  const Counting numbers(128);
  const auto shape_of = [&](const std::vector<std::size_t>& shape) {
    return native_tensors({{"model.layers.0.r_k", numbers.tensor(shape)}}, kOther, "f")
        .at("blocks.0.att.r_k");
  };
  const Tensor heads = shape_of({128});
  EXPECT_EQ(heads.shape, (std::vector<std::size_t>{2, 64}));
  EXPECT_EQ(heads.at(65), 65.0F);
  EXPECT_EQ(shape_of({2, 64}).shape, (std::vector<std::size_t>{2, 64}));
  EXPECT_EQ(shape_of({100}).shape, (std::vector<std::size_t>{100}));
}

TEST(Naming, RefusesTwoNamesForOneTensor) {
  const Counting numbers(2);
  test::expect_refused(
      [&] {
        native_tensors({{"a", numbers.tensor({2})}, {"model.a", numbers.tensor({2})}}, kOther, "f");
      },
      "f: tensor model.a", "another one for a");
  test::expect_refused(
      [&] {
        native_tensors({{"model.", numbers.tensor({2})}}, kOther, "f");
      },
      "f: tensor model.", "expected a name");
}

TEST(Family, IsKnownByTheNameOfTheEmbedding) {
  const Counting numbers(512);
  const auto family = [&](const std::string& embedding) {
    return family_of({{embedding, numbers.tensor({4, 128})}}, "m.pth").name;
  };
  EXPECT_EQ(family("emb.weight"), "native");
  EXPECT_EQ(family("rwkv.emb.weight"), "native");
  EXPECT_EQ(family("rwkv7.emb.weight"), "transformers");
  EXPECT_EQ(family("model.emb.weight"), "transformers");
  EXPECT_EQ(family("model.embeddings.weight"), "fla");
  EXPECT_EQ(family("unknown"), "native");
}

TEST(Family, IsKnownByTheFactorsWhereNamesAreTheSame) {
  const Counting numbers(16384);
  const auto family = [&](const std::vector<std::size_t>& w1, const std::vector<std::size_t>& g1,
                          std::string_view file) {
    return family_of({{"emb.weight", numbers.tensor({4, 128})},
                      {"blocks.0.att.g1", numbers.tensor(g1)},
                      {"blocks.0.att.w1", numbers.tensor(w1)},
                      {"blocks.0.att.w2", numbers.tensor({32, 128})}},
                     file)
        .name;
  };
  EXPECT_EQ(family({128, 32}, {128, 128}, "m.st"), "native");
  EXPECT_EQ(family({32, 128}, {128, 128}, "m.st"), "web-rwkv");
  EXPECT_EQ(family({32, 128}, {64, 128}, "m.pth"), "web-rwkv");
  EXPECT_EQ(family({32, 64}, {128, 128}, "m.st"), "native");  // neither; refused by its shape
  EXPECT_EQ(family({128, 32}, {7, 128}, "m.st"), "native");   // the same
  EXPECT_EQ(family({128, 128}, {128, 128}, "m.pth"), "native");
  test::expect_refused([&] { family({128, 128}, {128, 128}, "m.st"); }, "m.st", "which way round");
}

}  // namespace
}  // namespace longreach::model
