#include "model/schema/tensors.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/pth_writer.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

namespace longreach::model {
namespace {

using Shapes = std::map<std::string, std::vector<std::size_t>>;

/// Three RWKV-7 blocks of one head, the last of which is never executed, and two sparse ones.
ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 5;
  config.n_embd = 64;
  config.n_head = 1;
  config.ffn_size = 96;
  config.n_rwkv = 3;
  config.n_sparse = 2;
  config.low_ranks.assign(3, {.w = 8, .a = 9, .v = 10, .g = 11});
  return config;
}

/// The tensors that its checkpoint needs.
Shapes needed() {
  Shapes shapes;
  for (const ListedTensor& tensor : list_tensors(tiny_config())) {
    if (tensor.use != Use::kNone) shapes.emplace(tensor.name, tensor.shape);
  }
  // That it is there counts it as a block; it lacks all else.
  shapes.emplace("blocks.2.ln1.weight", std::vector<std::size_t>{64});
  return shapes;
}

std::string safetensors_of(const Shapes& shapes) {
  std::string header;
  std::size_t n_bytes = 0;
  for (const auto& [name, shape] : shapes) {
    std::size_t size = 2;
    for (const std::size_t extent : shape) size *= extent;
    header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"BF16","shape":)" +
              shape_text(shape) + R"(,"data_offsets":[)" + std::to_string(n_bytes) + "," +
              std::to_string(n_bytes + size) + "]}";
    n_bytes += size;
  }
  header += "}";
  return test::little_endian(std::uint64_t{header.size()}) + header + std::string(n_bytes, '\0');
}

std::string pth_file_of(const Shapes& shapes) {
  std::vector<std::pair<std::string, test::TensorSpec>> tensors;
  std::int64_t n_numbers = 0;
  for (const auto& [name, shape] : shapes) {
    test::TensorSpec tensor{.offset = n_numbers, .shape = {shape.begin(), shape.end()}};
    tensor.strides.assign(shape.size(), 1);
    for (std::size_t i = shape.size() - 1; i > 0; --i) {
      tensor.strides[i - 1] = tensor.strides[i] * tensor.shape[i];
    }
    n_numbers += tensor.strides[0] * tensor.shape[0];
    tensors.emplace_back("rwkv." + name, tensor);
  }
  for (auto& [name, tensor] : tensors) tensor.storage_size = n_numbers;
  return test::pth_of(test::pickle_of(tensors),
                      {{"0", std::string(static_cast<std::size_t>(n_numbers) * 4, '\0')}});
}

/// Two files, of which the second one holds the last tensors, and what the index says of them.
std::filesystem::path write_index(const test::TempFolder& folder, const Shapes& shapes) {
  Shapes first = shapes, second;
  while (second.size() < 10) second.insert(first.extract(std::prev(first.end())));
  folder.write("m-1.safetensors", safetensors_of(first));
  folder.write("m-2.safetensors", safetensors_of(second));
  std::string map;
  for (const auto& [name, shape] : shapes) {
    map += (map.empty() ? "\"" : ",\"") + name + "\":\"m-" + (second.contains(name) ? "2" : "1") +
           ".safetensors\"";
  }
  return folder.write("m.safetensors.index.json", R"({"weight_map":{)" + map + "}}");
}

/// Calls check(path) for files of every kind that hold these tensors.
void for_files(const Shapes& shapes,
               const std::function<void(const std::filesystem::path&)>& check) {
  const test::TempFolder folder;
  check(folder.write("m.pth", pth_file_of(shapes)));
  check(folder.write("m.safetensors", safetensors_of(shapes)));
  check(write_index(folder, shapes));
}

void check_file(const std::filesystem::path& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  check_tensors(checkpoint, read_config(checkpoint));
}

template <typename... Parts>
void expect_refused(const Shapes& shapes, const Parts&... parts) {
  for_files(shapes, [&](const std::filesystem::path& path) {
    test::expect_refused([&] { check_file(path); }, path.string(), parts...);
  });
}

Shapes with(const std::vector<std::string>& names) {
  Shapes shapes = needed();
  for (const std::string& name : names) shapes[name] = {3, 4};
  return shapes;
}

TEST(Tensors, AreListedWithTheShapesOfTheirBlocks) {
  ModelConfig config = tiny_config();
  config.low_ranks[1].v = 12;
  std::map<std::string, ListedTensor> list;
  for (ListedTensor& tensor : list_tensors(config)) {
    const std::string name = tensor.name;
    ASSERT_TRUE(list.emplace(name, std::move(tensor)).second) << name << " is listed twice";
  }
  const auto shape = [&](const std::string& name) { return list.at(name).shape; };
  EXPECT_EQ(shape("emb.weight"), (std::vector<std::size_t>{5, 64}));
  EXPECT_EQ(shape("blocks.0.att.x_r"), (std::vector<std::size_t>{1, 1, 64}));
  EXPECT_EQ(shape("blocks.1.att.v1"), (std::vector<std::size_t>{64, 12}));
  EXPECT_EQ(shape("blocks.1.att.g2"), (std::vector<std::size_t>{11, 64}));
  EXPECT_EQ(shape("moba.1.ffn.value.weight"), (std::vector<std::size_t>{64, 96}));
  EXPECT_EQ(list.at("head.weight").use, Use::kOutput);
  EXPECT_EQ(list.at("blocks.0.ln0.bias").use, Use::kInput);
  EXPECT_EQ(list.at("blocks.1.att.v1").use, Use::kBlock);
  EXPECT_EQ(list.at("blocks.0.att.v1").use, Use::kNone);
  EXPECT_EQ(list.at("blocks.2.att.w1").use, Use::kNone);
  EXPECT_FALSE(list.contains("moba.2.ln1.weight"));
}

TEST(Tensors, OfAModelAreEnough) {
  for_files(needed(), [](const std::filesystem::path& path) { EXPECT_NO_THROW(check_file(path)); });
}

TEST(Tensors, OfTheFirstResidualAndOfBlocksNeverExecutedMayBeThere) {
  for_files(with({"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2", "blocks.2.att.v1",
                  "blocks.2.ffn.key.weight"}),
            [](const std::filesystem::path& path) { EXPECT_NO_THROW(check_file(path)); });
}

TEST(Tensors, ThatNothingUsesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"blocks.0.ffn.s_emb.weight", "DeepEmbed"},
      {"blocks.1.ffn.s_emb_x.weight", "DeepEmbed"},
      {"blocks.0.ffn.s0", "DeepEmbed"},
      {"blocks.0.qkv.x_q", "RWKV-7b"},
      {"blocks.1.att.receptance.lora_A", "LoRA that was not merged"},
      {"base_model.model.blocks.0.ffn.key.lora_B.weight", "LoRA that was not merged"},
      {"blocks.1.att.value.lora.0", "LoRA that was not merged"},
      {"blocks.0.att.key.disha", "adapter"},
      {"blocks.0.att.time_state", "an initial state that was merged"},
      {"blocks.1.att.ts_state", "initial state"},
      {"moba.0.att.gate.weight", "sparse blocks of another kind"},
      {"blocks.2.att.time_state", "initial state"},  // of a block never executed, but foreign
      {"blocks.0.att.v3", "not one that this model uses"},
      {"blocks.1.ln0.weight", "not one that this model uses"},
      {"extra", "not one that this model uses"},
  };
  for (const auto& [name, meaning] : cases) {
    SCOPED_TRACE(name);
    expect_refused(with({name}), "tensor " + name, meaning);
  }
}

TEST(Tensors, ThatNothingUsesAreCounted) {
  expect_refused(with({"a", "b", "c"}), "tensor a is not", "(2 more are not)");
}

TEST(Tensors, ThatAreMissingOrMisshapenAreRefusedEveryOne) {
  const Shapes shapes = needed();
  const test::TempFolder folder;
  for (const auto& [name, shape] : shapes) {
    if (name.starts_with("blocks.2.")) continue;
    Shapes missing = shapes, misshapen = shapes;
    missing.erase(name);
    misshapen[name] = {7, 64};
    for (const Shapes& wrong : {missing, misshapen}) {
      const auto path = folder.write("m.safetensors", safetensors_of(wrong));
      // Sizes are read from some: then another tensor is the one that does not fit.
      const bool is_source = name == "emb.weight" || name == "blocks.0.ffn.key.weight";
      test::expect_refused([&] { check_file(path); }, path.string(),
                           is_source ? "tensor " : "tensor " + name);
    }
  }
}

}  // namespace
}  // namespace longreach::model
