#include "model/checkpoint/checkpoint.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/pth_writer.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

namespace longreach::model {
namespace {

using test::expect_refused;
using test::floats;
using test::pickle_of;
using test::pth_of;
using test::TempFolder;

/// A `.pth` with one tensor of two floats.
std::string pth_with(const std::string& name, float first) {
  return pth_of(pickle_of({{name, {.storage_size = 2, .shape = {1, 2}, .strides = {2, 1}}}}),
                {{"0", floats({first, 2})}});
}

/// A `.safetensors` with tensors of one float each, whose values count up from `first`.
std::string safetensors_with(const std::vector<std::string>& names, float first) {
  std::string header, data;
  for (const std::string& name : names) {
    header += (header.empty() ? "{\"" : ",\"") + name +
              R"(":{"dtype":"F32","shape":[1],"data_offsets":[)" + std::to_string(data.size()) +
              "," + std::to_string(data.size() + 4) + "]}";
    data += floats({first++});
  }
  header += "}";
  return test::little_endian(std::uint64_t{header.size()}) + header + data;
}

template <typename... Parts>
void expect_open_refused(const std::filesystem::path& path, const Parts&... parts) {
  expect_refused([&] { Checkpoint::open(path); }, path.string(), parts...);
}

TEST(Checkpoint, OpensFilesByTheirContents) {
  const TempFolder folder;
  const Checkpoint torch =
      Checkpoint::open(folder.write("model.safetensors", pth_with("rwkv.a", 1)));
  EXPECT_EQ(torch.get("a", {1, 2}).at(0), 1.0F);
  const Checkpoint safetensors =
      Checkpoint::open(folder.write("m.pth", safetensors_with({"b"}, 3)));
  EXPECT_EQ(safetensors.get("b", {1}).at(0), 3.0F);
  EXPECT_EQ(safetensors.path(), folder.path() / "m.pth");
}

TEST(Checkpoint, TakesNoSafetensorsFileForAnOldTorchFile) {
  const TempFolder folder;
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.resize(0x0280, ' ');  // the length's bytes are those a pickle of protocol 2 starts with
  const std::string file = test::little_endian(std::uint64_t{header.size()}) + header + floats({1});
  EXPECT_EQ(Checkpoint::open(folder.write("m", file)).get("a", {1}).at(0), 1.0F);
}

TEST(Checkpoint, FindsTensorsByNameAndShape) {
  const TempFolder folder;
  const Checkpoint checkpoint = Checkpoint::open(folder.write("m.pth", pth_with("rwkv.a", 1)));
  EXPECT_EQ(checkpoint.find("rwkv.a"), nullptr);
  ASSERT_NE(checkpoint.find("a"), nullptr);
  EXPECT_EQ(checkpoint.tensors().size(), 1U);
  EXPECT_EQ(&checkpoint.get("a", {2}), checkpoint.find("a"));
  EXPECT_EQ(&checkpoint.get("a", {1, 1, 2}), checkpoint.find("a"));
  expect_refused([&] { checkpoint.get("b", {2}); }, "m.pth", "tensor b is missing");
  expect_refused(
      [&] {
        checkpoint.get("a", {2, 1});
      },
      "m.pth", "tensor a", "expected shape [2, 1]", "found [1, 2]");
}

TEST(Checkpoint, StaysReadableWhenMovedAndReleased) {
  const TempFolder folder;
  Checkpoint checkpoint = Checkpoint::open(folder.write("m.pth", pth_with("a", 1)));
  const Checkpoint moved = std::move(checkpoint);
  moved.release_pages();
  EXPECT_EQ(moved.get("a", {2}).at(1), 2.0F);
}

TEST(Checkpoint, RefusesNamesThatMeanOneTensorOrNone) {
  const TempFolder folder;
  expect_open_refused(folder.write("m.st", safetensors_with({"a", "rwkv.a"}, 1)), "tensor rwkv.a",
                      "another one for a");
  expect_open_refused(folder.write("n.st", safetensors_with({"rwkv."}, 1)), "tensor rwkv.",
                      "expected a name");
}

TEST(Checkpoint, VerifyNamesTheDamagedEntry) {
  const TempFolder folder;
  const std::string intact = pth_with("a", 1);
  EXPECT_NO_THROW(Checkpoint::open(folder.write("m.pth", intact)).verify());
  const std::string torn = test::with_flipped_bit(intact, 8 * intact.find(floats({1, 2})));
  const Checkpoint checkpoint = Checkpoint::open(folder.write("torn.pth", torn));
  expect_refused([&] { checkpoint.verify(); }, "torn.pth", "data/0", "damaged");
}

TEST(Checkpoint, RefusesFilesOfOtherKinds) {
  const TempFolder folder;
  expect_open_refused(folder.path() / "absent.pth", "No such file");
  expect_open_refused(folder.write("empty.pth", ""), "empty");
  expect_open_refused(folder.write("text.pth", "hello"), "expected a torch zip archive");
  expect_open_refused(folder.write("old.pth",
                                   "\x80\2\x8a\nl\xfc\x9c"
                                   "F\xf9 j\xa8P\x19."),
                      "re-save");
  expect_open_refused(
      folder.write("lfs.pth", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
      "git lfs pull");
  expect_open_refused(folder.write("short.safetensors", "hello"), "too early");
  expect_open_refused(folder.write("long.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}"),
                      "header claims");
}

TEST(Checkpoint, OpensTheOneCheckpointOfAFolder) {
  const TempFolder folder;
  expect_open_refused(folder.path(), "holds no .pth");
  folder.write("config.json", "{}");
  const auto file = folder.write("m.pth", pth_with("a", 1));
  EXPECT_EQ(Checkpoint::open(folder.path()).path(), file);
  folder.write("n.st", safetensors_with({"a"}, 1));
  expect_open_refused(folder.path(), "found 2: m.pth, n.st");
  for (int i = 0; i < 10; ++i) folder.write("o" + std::to_string(i) + ".pth", "");
  expect_open_refused(folder.path(), "found 12: m.pth, n.st, o0.pth", "o5.pth, ...;");
}

TEST(Checkpoint, TakesEachTensorFromTheFileTheIndexNames) {
  const TempFolder folder;
  folder.write("m-1.safetensors", safetensors_with({"rwkv.a", "both"}, 1));
  folder.write("m-2.safetensors", safetensors_with({"b", "both"}, 11));
  const auto index = folder.write(
      "m.safetensors.index.json",
      R"({"metadata":{"total_size":12},"weight_map":{"rwkv.a":"m-1.safetensors","b":"m-2.safetensors","both":"m-2.safetensors"}})");
  for (const auto& path : {index, folder.path()}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.path(), index);
    EXPECT_EQ(checkpoint.tensors().size(), 3U);
    EXPECT_EQ(checkpoint.get("a", {1}).at(0), 1.0F);
    EXPECT_EQ(checkpoint.get("b", {1}).at(0), 11.0F);
    EXPECT_EQ(checkpoint.get("both", {1}).at(0), 12.0F);
    checkpoint.verify();
  }
}

TEST(Checkpoint, RefusesBrokenIndices) {
  const TempFolder folder;
  const auto write = [&](const std::string& contents) {
    return folder.write("m.safetensors.index.json", contents);
  };
  folder.write("m-1.safetensors", safetensors_with({"a"}, 1));
  expect_open_refused(write("{"), "no valid JSON");
  expect_open_refused(write(R"({"weight_map":{"a":1e999}})"), "1e999", "out of range");
  expect_open_refused(write("{}"), "weight_map");
  expect_open_refused(write(R"({"weight_map":[]})"), "weight_map");
  expect_open_refused(write(R"({"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}})"),
                      "key \"a\"");
  expect_open_refused(write(R"({"weight_map":{"a":1}})"), "tensor a", "name of a file");
  expect_open_refused(write(R"({"weight_map":{"z":"m-1.safetensors"}})"), "tensor z",
                      "does not hold it");
  folder.write("m-2.safetensors", safetensors_with({"b", "c"}, 1));
  expect_open_refused(write(R"({"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})"),
                      "m-2.safetensors holds tensor c", "does not name");
  expect_open_refused(write(R"({"weight_map":{"a":"m-1.safetensors","rwkv.a":"m-1.safetensors"}})"),
                      "tensor rwkv.a", "does not hold it");
  std::string deep = "{\"weight_map\":";
  for (int i = 0; i < 1'000'000; ++i) deep += '[';
  expect_open_refused(write(deep), "inside one another");
  expect_refused([&] { Checkpoint::open(write(R"({"weight_map":{"a":"m-9.safetensors"}})")); },
                 "m-9.safetensors", "No such file");
}

TEST(Checkpoint, LeavesTheFolderOfTheIndexForNoFile) {
  const TempFolder folder;
  const auto outside = folder.write("secret.safetensors", safetensors_with({"a"}, 1));
  std::filesystem::create_directory(folder.path() / "model");
  for (const std::string part :
       {"../secret.safetensors", outside.c_str(), "", ".", "..", "a/../m", "a\\u0000b"}) {
    const auto index =
        folder.write("model/m.safetensors.index.json", R"({"weight_map":{"a":")" + part + "\"}}");
    expect_open_refused(index, "in the index's folder");
  }
}

TEST(Tensor, CountsAndLocatesItsElements) {
  const std::vector<float> numbers = {0, 1, 2, 3, 4, 5};
  const Tensor transposed{
      base::DType::kF32, {3, 2}, {1, 3}, reinterpret_cast<const std::byte*>(numbers.data())};
  EXPECT_EQ(transposed.size(), 6U);
  EXPECT_FALSE(transposed.is_contiguous());
  EXPECT_EQ(transposed.at(1), 3.0F);
  EXPECT_EQ(transposed.at(4), 2.0F);
  const Tensor row{base::DType::kF32, {1, 6}, {77, 1}, transposed.data};
  EXPECT_TRUE(row.is_contiguous());
  EXPECT_EQ(shape_text(row.shape), "[1, 6]");
  EXPECT_EQ(shape_text({}), "[]");
}

}  // namespace
}  // namespace longreach::model
