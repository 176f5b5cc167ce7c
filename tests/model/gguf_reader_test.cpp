#include "model/checkpoint/gguf_reader.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/counting_tensor.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/pth_writer.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace longreach::model {
namespace {

using test::bytes_of;
using test::floats;
using test::GgufWriter;
using test::little_endian;

TensorMap read(const std::string& file) {
  return read_gguf(bytes_of(file), "/x/y.gguf").contents.tensors;
}

template <typename... Parts>
void expect_file_refused(const std::string& file, const Parts&... parts) {
  test::expect_refused([&] { read(file); }, "/x/y.gguf", parts...);
}

/// One tensor of a type number and shape at a place, over 64 bytes of data.
std::string file_with(const std::vector<std::uint64_t>& extents, std::uint32_t type,
                      std::uint64_t offset) {
  return GgufWriter().tensor("a", extents, type, offset).finish(std::string(64, '\0'));
}

std::string small_file() {
  const std::string block = little_endian(std::uint16_t{0x3c00}) + "\x01\x02" + std::string(30, 3);
  return GgufWriter()
      .text("general.architecture", "rwkv7")
      .whole_number("n", 7)
      .value("minus", 5, little_endian(std::int32_t{-7}))
      .value("wide", 11, little_endian(std::int64_t{8}))
      .value("half", 6, floats({0.5}))
      .value("yes", 7, "\1")
      .texts("texts", {"a", "", "bc"})
      .list("numbers", 5, 2, little_endian(std::int32_t{1}) + little_endian(std::int32_t{-1}))
      .list("bytes", 0, 3, "\1\2\3")
      .tensor("blocks", {32, 1}, 8, 32)
      .tensor("a", {3, 2}, 0, 0)
      .tensor("h", {1}, 1, 96)
      .finish(floats({0, 1, 2, 3, 4, 5}) + std::string(8, '\0') + block + std::string(30, '\0') +
              little_endian(std::uint16_t{0x3e00}));
}

TEST(GgufReader, ReadsTensorsOfAllTypes) {
  const std::string file = small_file();
  const TensorMap tensors = read(file);
  ASSERT_EQ(tensors.size(), 3U);
  test::expect_counts_up(tensors.at("a"), {2, 3});
  EXPECT_EQ(tensors.at("h").at(0), 1.5F);
  const Tensor& blocks = tensors.at("blocks");
  EXPECT_EQ(blocks.type_name(), "q8_0");
  EXPECT_EQ(blocks.stored_bytes(), 34U);
  EXPECT_EQ(blocks.at(0), 1.0F);
  EXPECT_EQ(blocks.at(1), 2.0F);
  EXPECT_EQ(blocks.at(31), 3.0F);
}

TEST(GgufReader, ReadsMetadataOfAllTypes) {
  const std::string file = small_file();
  const GgufMetadata metadata = read_gguf_metadata(bytes_of(file), "y.gguf");
  EXPECT_EQ(metadata.text("general.architecture"), "rwkv7");
  EXPECT_EQ(metadata.whole_number("n"), 7U);
  EXPECT_EQ(metadata.whole_number("wide"), 8U);
  EXPECT_EQ(metadata.number("half"), 0.5);
  EXPECT_EQ(metadata.texts("texts", 3), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(metadata.whole_numbers("bytes", 3), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(metadata.whole_number("absent"), std::nullopt);
  EXPECT_EQ(metadata.texts("absent", 3), std::nullopt);
  test::expect_refused([&] { metadata.whole_number("minus"); }, "y.gguf", "minus");
  test::expect_refused([&] { metadata.whole_number("yes"); }, "yes", "whole number");
  test::expect_refused([&] { metadata.text("n"); }, "n: expected a text");
  test::expect_refused([&] { metadata.number("n"); }, "n: expected a number");
  test::expect_refused([&] { metadata.texts("numbers", 3); }, "a list of texts");
  test::expect_refused([&] { metadata.texts("n", 3); }, "n: expected a list");
  test::expect_refused([&] { metadata.texts("texts", 2); }, "texts: has 3 items");
  test::expect_refused([&] { metadata.whole_numbers("texts", 3); }, "a list of whole numbers");
  test::expect_refused([&] { metadata.whole_numbers("numbers", 3); }, "a list of whole numbers");
}

TEST(GgufReader, RefusesWhatTheFormatDoesNotForesee) {
  expect_file_refused("GGUX", "begins with GGUF");
  expect_file_refused(test::with_bytes_at(small_file(), 4, little_endian(std::uint32_t{1})),
                      "version 1");
  expect_file_refused(test::with_bytes_at(small_file(), 8, little_endian(std::uint64_t{1} << 60)),
                      "claims 1152921504606846976 tensors");
  expect_file_refused(test::with_bytes_at(small_file(), 16, little_endian(std::uint64_t{1} << 60)),
                      "claims");
  expect_file_refused(GgufWriter().value("k", 13, "").finish(), "k: its type 13");
  expect_file_refused(GgufWriter().value("k", 7, "\2").finish(), "k: expected 0 or 1");
  expect_file_refused(GgufWriter().whole_number("k", 1).whole_number("k", 1).finish(), "k stands");
  expect_file_refused(GgufWriter().value("k", 8, std::string(8, '\xff')).finish(), "k: ends");
  expect_file_refused(GgufWriter().list("k", 9, 1, "").finish(), "k: expected a list");
  expect_file_refused(GgufWriter().list("k", 10, std::uint64_t{1} << 62, "").finish(), "too long");
  expect_file_refused(GgufWriter().list("k", 0, std::uint64_t{1} << 62, "").finish(), "ends too");
  expect_file_refused(GgufWriter().list("k", 8, std::uint64_t{1} << 62, "").finish(), "ends too");
  expect_file_refused(GgufWriter().whole_number(std::string(65536, 'k'), 1).finish(), "65536");
  for (const std::uint32_t alignment : {0U, 48U, 1U << 17}) {
    expect_file_refused(GgufWriter().whole_number("general.alignment", alignment).finish(),
                        "general.alignment", std::to_string(alignment));
  }
}

TEST(GgufReader, RefusesTensorsThatDoNotFitTheFile) {
  EXPECT_EQ(read(file_with({16}, 0, 0)).size(), 1U);
  expect_file_refused(file_with({16}, 12, 0), "tensor a", "q4_K");
  expect_file_refused(file_with({16}, 77, 0), "tensor a", "number 77");
  expect_file_refused(file_with({1, 1, 1, 1, 16}, 0, 0), "tensor a", "5 dimensions");
  expect_file_refused(file_with({0}, 0, 0), "tensor a", "no elements");
  expect_file_refused(file_with({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0, 0), "tensor a",
                      "too large");
  expect_file_refused(file_with({std::uint64_t{1} << 62}, 0, 0), "tensor a", "too large");
  expect_file_refused(file_with({16}, 8, 0), "tensor a", "whole blocks of 32");
  expect_file_refused(file_with({}, 8, 0), "tensor a", "whole blocks of 32");
  expect_file_refused(file_with({17}, 0, 0), "tensor a", "0 to 68 of 64");
  expect_file_refused(file_with({16}, 0, 8), "tensor a", "multiple of 32");
  expect_file_refused(file_with({8}, 0, 32), "tensor a", "starts at byte 32");
  expect_file_refused(file_with({16}, 0, ~std::uint64_t{31}), "tensor a");
  expect_file_refused(file_with({8}, 0, 0), "end at byte 32 of 64");
}

TEST(GgufReader, RefusesOverlapsGapsAndNamesThatAreTaken) {
  const auto two = [](const std::string& second, std::uint64_t offset) {
    return GgufWriter()
        .tensor("a", {8}, 0, 0)
        .tensor(second, {8}, 0, offset)
        .finish(std::string(offset + 32, '\0'));
  };
  EXPECT_EQ(read(two("b", 32)).size(), 2U);
  expect_file_refused(two("b", 0), "starts at byte 0");
  expect_file_refused(two("b", 64), "tensor b", "starts at byte 64");
  expect_file_refused(two("a", 32), "tensor a", "twice");
  expect_file_refused(two("", 32), "tensor name ''");
  expect_file_refused(two("\x1b[2J", 32), "'\\x1b[2J'");
}

TEST(GgufReader, EveryTruncationIsRefused) {
  const std::string file = small_file();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    test::expect_refused([&] { read_gguf(std::as_bytes(std::span(cut)), "y"); }, "y");
  }
}

TEST(GgufReader, EveryFlippedBitIsRefusedOrStaysInsideTheFile) {
  const std::string file = small_file();
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    const std::string torn = test::with_flipped_bit(file, bit);
    try {
      for (const auto& [name, tensor] : read(torn)) {
        for (std::size_t i = 0; i < tensor.size(); ++i) tensor.at(i);
      }
    } catch (const base::InputError&) {
    }
  }
}

}  // namespace
}  // namespace longreach::model
