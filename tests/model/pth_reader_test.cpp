#include "model/checkpoint/pth_reader.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/pth_writer.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace longreach::model {
namespace {

using namespace std::string_literals;
using test::bytes_of;
using test::expect_refused;
using test::floats;
using test::little_endian;
using test::pickle_of;
using test::PickleWriter;
using test::pth_of;
using test::TensorSpec;
using test::Zip64;
using test::zip_of;

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

std::vector<float> values(const Tensor& tensor) {
  std::vector<float> result;
  for (std::size_t i = 0; i < tensor.size(); ++i) result.push_back(tensor.at(i));
  return result;
}

TensorFile read(const std::string& archive) { return read_pth(bytes_of(archive), "/x/y.pth"); }

template <typename... Parts>
void expect_pth_refused(const std::string& archive, const Parts&... parts) {
  expect_refused([&] { read(archive); }, "/x/y.pth", parts...);
}

/// What is said about one tensor `t` over a storage of the floats 0, 1, 2.
template <typename... Parts>
void expect_tensor_refused(const TensorSpec& tensor, const Parts&... parts) {
  expect_pth_refused(pth_of(pickle_of({{"t", tensor}}), {{"0", floats({0, 1, 2})}}), "tensor t",
                     parts...);
}

/// Two tensors of one shared storage, one of its own, of 16 bits, and with the published prefix.
std::string small_archive(Zip64 zip64 = Zip64::kEndRecord) {
  const std::string pickle = pickle_of({
      {"a", {.storage_size = 6, .offset = 1, .shape = {2, 2}, .strides = {1, 2}}},
      {"b", {.storage_size = 6, .offset = 5, .shape = {}, .strides = {}}},
      {"moba.0.c",
       {.type = "BFloat16Storage",
        .key = "1",
        .storage_size = 2,
        .shape = {1, 2},
        .strides = {2, 1}}},
      {"d", {.type = "HalfStorage", .key = "2", .storage_size = 1, .shape = {1}}},
  });
  return pth_of(pickle,
                {{"0", floats({0, 1, 2, 3, 4, 5})},
                 {"1", little_endian(std::uint32_t{0xc0003f80})},
                 {"2", little_endian(std::uint16_t{0x3e00})}},
                zip64);
}

void expect_small_tensors(const TensorMap& tensors) {
  ASSERT_EQ(tensors.size(), 4U);
  EXPECT_EQ(values(tensors.at("a")), (std::vector<float>{1, 3, 2, 4}));
  EXPECT_EQ(tensors.at("a").shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_FALSE(tensors.at("a").is_contiguous());
  EXPECT_EQ(values(tensors.at("b")), (std::vector<float>{5}));
  EXPECT_EQ(values(tensors.at("moba.0.c")), (std::vector<float>{1, -2}));
  EXPECT_EQ(tensors.at("moba.0.c").dtype, base::DType::kBf16);
  EXPECT_TRUE(tensors.at("moba.0.c").is_contiguous());
  EXPECT_EQ(values(tensors.at("d")), (std::vector<float>{1.5}));
}

TEST(PthReader, ReadsViewsOfSharedStoragesOfAllTypes) {
  for (const Zip64 zip64 : {Zip64::kNone, Zip64::kEndRecord, Zip64::kEverywhere}) {
    const std::string archive = small_archive(zip64);
    const TensorFile file = read(archive);
    expect_small_tensors(file.tensors);
    EXPECT_EQ(file.checksums.size(), 5U);
  }
}

TEST(PthReader, PointsIntoTheArchive) {
  const std::string archive = small_archive();
  const auto* const begin = reinterpret_cast<const std::byte*>(archive.data());
  const Tensor tensor = read(archive).tensors.at("a");
  EXPECT_EQ(tensor.data - begin, static_cast<std::ptrdiff_t>(archive.find(floats({1, 2}))));
}

TEST(PthReader, ReadsStateDictsWithAttributesAndPlainValues) {
  PickleWriter pickle;
  pickle.ordered_dict().raw("(").text("a").tensor({});
  pickle.text("step").integer(7).text("loss").raw("G").raw(std::string(8, '\0'));
  pickle.text("done").raw("\x88").text("none").raw("N").text("kind").text("text");
  pickle.text("count").raw("\x8a\x09").raw(std::string(9, '\x7f'));
  // What torch adds for a module: obj.__dict__["_metadata"] = OrderedDict(("", {"version": 1}))
  pickle.raw("u}").text("_metadata").ordered_dict().text("").raw("}").text("version").integer(1);
  const std::string archive = pth_of(pickle.raw("sssb").stop(), {{"0", floats({1, 2, 3})}});
  const TensorFile file = read(archive);
  ASSERT_EQ(file.tensors.size(), 1U);
  EXPECT_EQ(values(file.tensors.at("a")), (std::vector<float>{1, 2, 3}));
}

TEST(PthReader, ReadsParameters) {
  PickleWriter pickle;
  pickle.raw("}").text("a").global("torch._utils", "_rebuild_parameter").raw("(").tensor({});
  pickle.raw("\x88").ordered_dict().raw("tRs");
  const std::string archive = pth_of(pickle.stop(), {{"0", floats({1, 2, 3})}});
  EXPECT_EQ(values(read(archive).tensors.at("a")), (std::vector<float>{1, 2, 3}));
}

TEST(PthReader, RefusesParametersOfParameters) {
  PickleWriter pickle;
  pickle.raw("}").text("a");
  for (int i = 0; i < 2; ++i) pickle.global("torch._utils", "_rebuild_parameter").raw("(");
  pickle.tensor({});
  for (int i = 0; i < 2; ++i) pickle.raw("\x88").ordered_dict().raw("tR");
  expect_pth_refused(pth_of(pickle.raw("s").stop(), {{"0", floats({1, 2, 3})}}), "tensor a",
                     "parameter made of a tensor");
}

TEST(PthReader, ReadsAnyStoragesThatHaveNoChecksum) {
  const std::string pickle = pickle_of({{"t", {}}});
  const std::string archive = zip_of({{.name = "m/data.pkl", .data = pickle, .crc32 = 0},
                                      {.name = "m/data/0", .data = floats({1, 2, 3}), .crc32 = 0}});
  const TensorFile file = read(archive);
  EXPECT_TRUE(file.checksums.empty());
  EXPECT_EQ(values(file.tensors.at("t")), (std::vector<float>{1, 2, 3}));
}

TEST(PthReader, RefusesArchivesThatAreNoCheckpoint) {
  expect_pth_refused(zip_of({{.name = "a.txt", .data = "text"}}), "no checkpoint");
  const std::string pickle = pickle_of({});
  expect_pth_refused(
      zip_of({{.name = "a/data.pkl", .data = pickle}, {.name = "b/data.pkl", .data = pickle}}),
      "several");
  expect_pth_refused(
      zip_of({{.name = "a/data.pkl", .data = pickle}, {.name = "a/byteorder", .data = "big"}}),
      "little-endian", "'big'");
}

TEST(PthReader, RefusesWhatIsNoFlatDict) {
  const auto archive = [](PickleWriter& pickle) {
    return pth_of(pickle.stop(), {{"0", floats({1, 2, 3})}});
  };
  expect_pth_refused(archive(PickleWriter().raw("]")), "flat dict", "found a list");
  expect_pth_refused(archive(PickleWriter().tensor({})), "flat dict", "found a tensor");
  expect_pth_refused(archive(PickleWriter().raw("}").text("state_dict").raw("}s")), "flat dict",
                     "'state_dict' is a dict");
  expect_pth_refused(archive(PickleWriter().raw("}").text("all").raw("]s")), "'all' is a list");
  expect_pth_refused(archive(PickleWriter().raw("}").text("s").storage({}).raw("s")), "a storage");
  expect_pth_refused(archive(PickleWriter().raw("}").integer(1).tensor({}).raw("s")),
                     "found an int");
}

TEST(PthReader, RefusesNamesThatAreTakenOrUnfit) {
  const auto archive = [](const std::string& first, const std::string& second) {
    return pth_of(pickle_of({{first, {}}, {second, {}}}), {{"0", floats({1, 2, 3})}});
  };
  expect_pth_refused(archive("a", "a"), "tensor a", "twice");
  expect_pth_refused(archive("a", ""), "tensor name ''");
  expect_pth_refused(archive("a", "\x1b[31m"), "tensor name '\\x1b[31m'");
  expect_pth_refused(archive("a", std::string(256, 'n')), "tensor name", "...");
}

TEST(PthReader, RefusesUnknownTypesNamingTheTensor) {
  for (const std::string type : {"DoubleStorage", "LongStorage", "BoolStorage", "UntypedStorage"}) {
    expect_tensor_refused({.type = type}, type, "not supported");
  }
}

TEST(PthReader, RefusesViewsThatReachOutsideTheirStorage) {
  expect_tensor_refused({.offset = 1}, "reach outside its storage of 3 elements");
  expect_tensor_refused({.offset = kHuge}, "reach outside");
  expect_tensor_refused({.shape = {4}}, "reach outside");
  expect_tensor_refused({.shape = {2}, .strides = {3}}, "reach outside");
  expect_tensor_refused({.shape = {2}, .strides = {kHuge}}, "reach outside");
  // 2 + 2 * kHuge is 0 in 64 bits.
  expect_tensor_refused({.offset = 2, .strides = {kHuge}}, "reach outside");
  expect_tensor_refused({.shape = {3, 3}, .strides = {kHuge, kHuge}}, "reach outside");
  expect_tensor_refused({.offset = kHuge, .shape = {2, 2}, .strides = {kHuge, kHuge}},
                        "reach outside");
  expect_tensor_refused({.shape = {kHuge}, .strides = {kHuge}}, "reach outside");
  expect_tensor_refused(
      {.shape = {std::int64_t{1} << 33, std::int64_t{1} << 33}, .strides = {0, 0}}, "too large");
  expect_tensor_refused({.shape = {1'000'000}, .strides = {0}}, "larger than its storage");
}

TEST(PthReader, RefusesNonsensicalExtents) {
  expect_tensor_refused({.offset = -1}, "offset", "negative");
  expect_tensor_refused({.shape = {-3}}, "shape", "negative");
  expect_tensor_refused({.strides = {-1}}, "strides", "negative");
  expect_tensor_refused({.storage_size = -1}, "storage size", "negative");
  expect_tensor_refused({.shape = {0}}, "no elements");
  expect_tensor_refused({.shape = {3, 0}, .strides = {1, 1}}, "no elements");
  expect_tensor_refused({.shape = {3}, .strides = {1, 1}}, "1 dimensions and 2 strides");
  const std::vector<std::int64_t> ones(9, 1), many(100'000, 1);
  expect_tensor_refused({.shape = ones, .strides = ones}, "9 dimensions");
  expect_tensor_refused({.shape = many, .strides = many}, "100000 elements");
}

TEST(PthReader, RefusesStoragesOfAnotherSize) {
  expect_tensor_refused({.storage_size = 4}, "storage of 4 f32, found 12 bytes");
  expect_tensor_refused({.storage_size = 2, .shape = {1}}, "storage of 2 f32");
  expect_tensor_refused({.storage_size = kHuge}, "storage of");
  expect_tensor_refused({.type = "HalfStorage"}, "storage of 3 f16");
  expect_tensor_refused({.key = "5"}, "'model/data/5' is missing");
  expect_tensor_refused({.key = std::string(1000, '0')}, "key has 1000 bytes");
}

TEST(PthReader, RefusesArgumentsOfOtherTypes) {
  const auto expect = [](const std::string& arguments, std::string_view part) {
    PickleWriter pickle;
    pickle.raw("}").text("t").global("torch._utils", "_rebuild_tensor_v2").raw(arguments).raw("Rs");
    expect_pth_refused(pth_of(pickle.stop(), {{"0", floats({1, 2, 3})}}), "tensor t",
                       std::string(part));
  };
  const std::string storage = PickleWriter::part().storage({}).bytes();
  const std::string view = PickleWriter::part().integer(0).integers({3}).integers({1}).bytes();
  const std::string huge = "\x8a\x09" + std::string(9, 'x');
  expect("(t", "6 arguments to rebuild it, found 0");
  expect("(NNNNNNt", "expected a storage, found None");
  expect("(NQNNNNNt", "a storage's id of 5 parts");
  expect("((NNNNNtQNNNNNt", "a storage's id of the word");
  expect("(" + storage + "NNNNNt", "expected an int in its offset, found None");
  expect("(" + storage + huge + "NNNNt", "found an int beyond 64 bits");
  expect("(" + storage + "K\0]]NNt"s, "expected a tuple as its shape, found a list");
  expect("(" + storage + "K\0K\1\x85]NNt"s, "expected a tuple as its strides, found a list");
  expect("(" + storage + "K\0N\x85N\x85NNt"s, "expected an int in its shape, found None");
  expect("(" + storage + view + "NN}(X\4\0\0\0conj\x88ut"s, "conjugated");
}

TEST(PthReader, ReadsViewsWithEmptyMetadata) {
  PickleWriter pickle;
  pickle.raw("}(");
  for (const std::string nothing : {"N", "}"}) {
    pickle.text("t" + nothing).global("torch._utils", "_rebuild_tensor_v2").raw("(").storage({});
    pickle.integer(0).integers({3}).integers({1}).raw("NN" + nothing + "tR");
  }
  const std::string archive = pth_of(pickle.raw("u").stop(), {{"0", floats({1, 2, 3})}});
  EXPECT_EQ(read(archive).tensors.size(), 2U);
}

TEST(PthReader, FindsDamageOfThePickleAtOnceAndOfStoragesWhenAsked) {
  const std::string archive = small_archive();
  const std::string torn_pickle = test::with_flipped_bit(archive, 8 * archive.find("cuda"));
  expect_pth_refused(torn_pickle, "data.pkl", "damaged");

  const std::string torn_storage =
      test::with_flipped_bit(archive, 8 * archive.find(floats({4, 5})));
  const TensorFile file = read(torn_storage);
  expect_refused(
      [&] {
        for (const auto& range : file.checksums) check_crc32(range);
      },
      "/x/y.pth: zip entry 'model/data/0'", "damaged");
}

TEST(PthReader, EveryTruncationIsRefused) {
  const std::string archive = small_archive();
  for (std::size_t size = 0; size < archive.size(); ++size) {
    const std::vector<char> cut(archive.begin(),
                                archive.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused([&] { read_pth(std::as_bytes(std::span(cut)), "/x/y.pth"); }, "/x/y.pth");
  }
}

TEST(PthReader, EveryFlippedBitIsRefusedOrHarmless) {
  for (const Zip64 zip64 : {Zip64::kNone, Zip64::kEndRecord, Zip64::kEverywhere}) {
    const std::string archive = small_archive(zip64);
    std::size_t harmless = 0;
    for (std::size_t bit = 0; bit < 8 * archive.size(); ++bit) {
      const std::string torn = test::with_flipped_bit(archive, bit);
      try {
        const TensorFile file = read(torn);
        for (const ChecksummedRange& range : file.checksums) check_crc32(range);
        ++harmless;
        expect_small_tensors(file.tensors);
      } catch (const base::InputError&) {
      }
      ASSERT_FALSE(HasFailure()) << "bit " << bit % 8 << " of byte " << bit / 8;
    }
    // Dates, versions, attributes and the fill between entries carry nothing.
    EXPECT_LT(harmless, 8 * archive.size() / 2);
  }
}

}  // namespace
}  // namespace longreach::model
