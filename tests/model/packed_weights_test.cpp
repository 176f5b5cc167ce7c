#include "model/packed_weights.hpp"

#include "kernels/base/read_file.hpp"
#include "kernels/simd/isa.hpp"
#include "model/checkpoint/packed_metadata.hpp"
#include "model/schema/tensors.hpp"
#include "model/weights.hpp"
#include "tests/support/bytes.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/source_folder.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

namespace longreach::model {
namespace {

using base::WeightFormat;
using test::expect_refused;

constexpr auto kFormats = {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8,
                           WeightFormat::kInt4};

/// Of ranks that are no whole blocks.
const std::filesystem::path kModel = test::source_folder() / "tests/golden/data/d/model.pth";

class PackedWeights : public ::testing::Test {
 protected:
  std::filesystem::path pack(WeightFormat format) {
    const std::filesystem::path path = folder_.path() / "packed.safetensors";
    base::OutputFile file(path);
    const PackedInfo info{kernels::PanelLayout::in_use(format), source_.fingerprint()};
    EXPECT_TRUE(write_packed(file, source_.tensors(), config_, info, pool_,
                             [](std::size_t, std::size_t) { return true; }));
    file.finish();
    return path;
  }

  Weights load(const Checkpoint& checkpoint, WeightFormat format, partition::Shard shard = {}) {
    return load_weights(checkpoint, config_, {{0, config_.execution_order().size()}, shard}, format,
                        pool_);
  }

  test::TempFolder folder_;
  kernels::ThreadPool pool_{2};
  Checkpoint source_ = Checkpoint::open(kModel);
  ModelConfig config_ = read_config(source_);
};

/// The steps of all panels, whether those of two alternate or not.
template <typename T>
std::string steps_of(const kernels::PackedMatrix& matrix) {
  std::string all;
  for (std::size_t panel = 0; panel < kernels::panel_count(matrix.n_out()); ++panel) {
    const std::size_t place = panel % kernels::kPairedPanels;
    const kernels::Panels<T> pair = matrix.steps<T>(panel - place);
    for (std::size_t k = 0; k < matrix.n_in(); ++k) {
      const T* const step = pair.data + place * pair.panel_stride + k * pair.k_stride;
      all.append(reinterpret_cast<const char*>(step), kernels::kPanelCols * sizeof(T));
    }
  }
  return all;
}

std::string bytes_of(const kernels::PackedMatrix& matrix) {
  if (matrix.format() == WeightFormat::kF32) return steps_of<float>(matrix);
  if (matrix.format() == WeightFormat::kBf16 && !matrix.has_bf16_blocks()) {
    return steps_of<base::Bf16>(matrix);
  }
  return {reinterpret_cast<const char*>(matrix.panels().data()), matrix.panels().size()};
}

/// All that was loaded: the bytes of panels, and numbers.
std::vector<std::string> contents(Weights& weights, const ModelConfig& config) {
  std::vector<std::string> all;
  const auto add = [&all](const auto& field, const TensorSpec&) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, Tensor>) {
      all.push_back(shape_text(field.shape));
    } else {
      if constexpr (std::is_same_v<Field, Vector>) {
        const auto bytes = std::as_bytes(std::span(field));
        all.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      } else {
        all.push_back(fmt::format("{} {}", field.n_out(), field.n_in()));
        all.push_back(bytes_of(field));
      }
    }
  };
  visit_input_tensors(weights, add);
  for (std::size_t i = 0; i < weights.blocks.size(); ++i) {
    const BlockRef block{BlockKind::kRwkv, i};
    visit_tensors(weights.blocks[i], block, by_matrices(Extents(config, block), add));
  }
  visit_output_tensors(weights, add);
  return all;
}

TEST_F(PackedWeights, AreThoseThatARunWouldPack) {
  const std::string isa = kernels::active_isa();
  for (const std::string& path : kernels::available_isas()) {
    kernels::select_isa(path);
    for (const WeightFormat format : kFormats) {
      const Checkpoint packed = Checkpoint::open(pack(format));
      EXPECT_EQ(packed.fingerprint(), source_.fingerprint());
      EXPECT_NO_THROW(packed.verify());
      for (const partition::Shard shard : {partition::Shard{0, 1}, partition::Shard{0, 2},
                                           partition::Shard{1, 2}, partition::Shard{2, 3}}) {
        Weights expected = load(source_, format, shard), found = load(packed, format, shard);
        EXPECT_EQ(contents(found, config_), contents(expected, config_))
            << path << " " << name_of(format);
        packed.release_pages();
        EXPECT_EQ(contents(found, config_), contents(expected, config_));
      }
    }
  }
  kernels::select_isa(isa);
}

TEST_F(PackedWeights, OfAnotherFormatAreRefused) {
  const Checkpoint packed = Checkpoint::open(pack(WeightFormat::kInt8));
  expect_refused([&] { load(packed, WeightFormat::kBf16); }, "packed.safetensors", "as int8",
                 "as bf16");
}

TEST_F(PackedWeights, OfAnotherInstructionSetAreRefused) {
  std::string content = base::read_file(pack(WeightFormat::kBf16));
  const bool is_amx = kernels::uses_amx();
  const std::string_view found = is_amx ? R"(\"isa\":\"amx\")" : R"(\"isa\":\"other\")";
  const std::string_view other = is_amx ? R"(\"isa\":\"other\")" : R"(\"isa\":\"amx\")";
  const std::size_t at = content.find(found);
  ASSERT_NE(at, content.npos);
  // As long as before, so that nothing else moves.
  content.replace(at, found.size(), other);
  const std::size_t end = content.find("}  ") + 1;  // where the header's padding begins
  if (is_amx) {
    content.erase(end, other.size() - found.size());
  } else {
    content.insert(end, found.size() - other.size(), ' ');
  }
  const Checkpoint packed = Checkpoint::open(folder_.write("other.safetensors", content));
  expect_refused([&] { load(packed, WeightFormat::kBf16); }, "other.safetensors", "packed for",
                 kernels::active_isa(), "convert the model again");
}

TEST_F(PackedWeights, DamageIsRefused) {
  const std::string content = base::read_file(pack(WeightFormat::kInt4));
  for (const std::size_t size : {content.size() - 1, content.size() / 2, std::size_t{100}}) {
    const auto path = folder_.write("cut.safetensors", content.substr(0, size));
    expect_refused([&] { Checkpoint::open(path); }, "cut.safetensors");
  }
  for (const std::size_t at : {content.size() - 1, content.size() / 2, content.size() / 3}) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    const Checkpoint packed = Checkpoint::open(folder_.write("flipped.safetensors", damaged));
    expect_refused([&] { packed.verify(); }, "flipped.safetensors", "tensor", "damaged");
    for (const partition::Shard shard : {partition::Shard{0, 1}, partition::Shard{1, 2}}) {
      expect_refused([&] { load(packed, WeightFormat::kInt4, shard); }, "flipped.safetensors",
                     "tensor", "damaged");
    }
  }
}

/// Metadata like those of a model, with something put in the place of something else.
PackedMetadata read_replaced(const std::string& from, const std::string& to) {
  PackedMetadata metadata{{{WeightFormat::kInt8, false}, "0123456789abcdef"},
                          {{"a", {64, 32}}, {"b", {32, 7}}},
                          {{"a", 0x12345678U}, {"b", 1}, {"c", 0xffffffffU}}};
  std::string text = metadata.text();
  EXPECT_NE(text.find(from), text.npos) << from << " not in " << text;
  text.replace(text.find(from), from.size(), to);
  return parse_packed_metadata(text, "x");
}

TEST(PackedMetadata, SurvivesTheRoundTrip) {
  const PackedMetadata read = read_replaced("int8", "int8");
  EXPECT_EQ(read.info.layout, (kernels::PanelLayout{WeightFormat::kInt8, false}));
  EXPECT_EQ(read.info.source, "0123456789abcdef");
  EXPECT_EQ(read.shapes.at("b"), (std::vector<std::size_t>{32, 7}));
  EXPECT_EQ(read.checksums.at("a"), 0x12345678U);
  EXPECT_EQ(read.checksums.at("c"), 0xffffffffU);
}

TEST(PackedMetadata, WhatIsWrongIsNamed) {
  const auto refused = [](const std::string& from, const std::string& to, const auto&... parts) {
    expect_refused([&] { read_replaced(from, to); }, "x: ", parts...);
  };
  refused(R"("version":1)", R"("version":2)", "version 1", "found 2");
  refused(R"("version":1)", R"("version":"1")", "version");
  refused(R"("version":1,)", "", "version is missing");
  refused(R"("weights":"int8")", R"("weights":"int2")", "int2");
  refused(R"("weights":"int8")", R"("weights":8)", "weights: expected a text");
  refused(R"("weights":"int8")", R"("weights":"bf16")", "bf16", "any");
  refused(R"("isa":"any")", R"("isa":"amx")", "amx");
  refused(R"("shapes":{)", R"("shapes":[],"more":{)", "shapes: expected an object");
  refused("[64,32]", "[64,-32]", "shape of a");
  refused("[64,32]", "[]", "shape of a");
  refused("[64,32]", "7", "shape of a");
  refused("[64,32]", "[64,0]", "no elements");
  refused("[64,32]", "[4294967296,4294967296]", "too large");
  refused("[64,32]", "[1,1,1,1,1,1,1,1,1]", "dimensions");
  refused(R"("12345678")", R"("1234567")", "crc32 of a");
  refused(R"("12345678")", R"("1234567g")", "crc32 of a");
  refused(R"("12345678")", "5", "crc32 of a");
  refused("{", "[{", "x");
}

}  // namespace
}  // namespace longreach::model
