#include "model/checkpoint/safetensors_reader.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/counting_tensor.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/pth_writer.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace longreach::model {
namespace {

using test::bytes_of;
using test::expect_refused;
using test::floats;
using test::little_endian;

std::string file_of(const std::string& header, const std::string& data) {
  return little_endian(std::uint64_t{header.size()}) + header + data;
}

TensorMap read(const std::string& file) {
  return read_safetensors(bytes_of(file), "/x/y.safetensors").tensors;
}

template <typename... Parts>
void expect_file_refused(const std::string& file, const Parts&... parts) {
  expect_refused([&] { read(file); }, "/x/y.safetensors", parts...);
}

/// What is said about a header over 24 bytes of data.
template <typename... Parts>
void expect_header_refused(const std::string& header, const Parts&... parts) {
  expect_file_refused(file_of(header, std::string(24, '\1')), parts...);
}

std::string small_file() {
  return file_of(
      R"({"__metadata__":{"format":"pt"},"moba.0.h":{"dtype":"F16","shape":[1],"data_offsets":[28,30]},)"
      R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"data_offsets":[24,28],"shape":[2,1],"dtype":"BF16"}}  )",
      floats({0, 1, 2, 3, 4, 5}) + little_endian(std::uint32_t{0xc0003f80}) +
          little_endian(std::uint16_t{0x3e00}));
}

TEST(SafetensorsReader, ReadsAllTypes) {
  const std::string file = small_file();
  const TensorMap tensors = read(file);
  ASSERT_EQ(tensors.size(), 3U);
  test::expect_counts_up(tensors.at("a"), {2, 3});
  EXPECT_EQ(tensors.at("b").dtype, base::DType::kBf16);
  EXPECT_EQ(tensors.at("b").at(0), 1.0F);
  EXPECT_EQ(tensors.at("b").at(1), -2.0F);
  EXPECT_EQ(tensors.at("moba.0.h").at(0), 1.5F);
}

TEST(SafetensorsReader, ReadsScalarsAndFilesWithoutTensors) {
  const std::string scalar =
      file_of(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", floats({7}));
  EXPECT_EQ(read(scalar).at("s").at(0), 7.0F);
  EXPECT_TRUE(read(file_of("{}", "")).empty());
}

TEST(SafetensorsReader, RefusesLengthsOutsideTheFile) {
  expect_file_refused("1234567", "too early");
  expect_file_refused(little_endian(std::uint64_t{3}) + "{}", "3 bytes expected");
  expect_file_refused(little_endian(std::uint64_t{100'000'001}) + "{}", "100000001");
  expect_file_refused(std::string(8, '\xff') + "{}", "18446744073709551615");
}

TEST(SafetensorsReader, RefusesHeadersThatAreNoJson) {
  for (const std::string header :
       {"", "{", "[]", "null", "{}{}", "{\"a\":}", "{\"\xff\":{}}", "{'a':1}"}) {
    expect_header_refused(header, "header");
  }
  expect_header_refused(
      R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}})" + std::string("\0 {}", 4),
      "a zero byte");
}

TEST(SafetensorsReader, RefusesWhatTheFormatDoesNotForesee) {
  expect_header_refused(R"({"a":1})", "a number at 'a'");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24],"x":{}}})",
                        "an object at 'x'");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[[6]],"data_offsets":[0,24]}})", "a list");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[-6],"data_offsets":[0,24]}})", "negative",
                        "tensor 'a'");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6.0],"data_offsets":[0,24]}})", "fraction");
  expect_header_refused(
      R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,24]}})", "fraction");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":null,"data_offsets":[0,24]}})", "null");
  expect_header_refused(R"({"a":{"dtype":"F32","dtype":"F32","shape":[6],"data_offsets":[0,24]}})",
                        "key \"dtype\" stands twice");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6],"shape":[6],"data_offsets":[0,24]}})",
                        "key \"shape\" stands twice");
  expect_header_refused(R"({"__metadata__":{"a":{}}})", "an object");
  expect_header_refused(
      R"({"a":{"dtype":"F32","shape":[)" + std::string(200, '1').replace(1, 1, ",") + "]}}",
      "fraction");
}

TEST(SafetensorsReader, RefusesIncompleteTensors) {
  expect_header_refused(R"({"a":{}})", "tensor a", "expected dtype");
  expect_header_refused(R"({"a":{"shape":[6],"data_offsets":[0,24]}})", "expected dtype");
  expect_header_refused(R"({"a":{"dtype":"F32","data_offsets":[0,24]}})", "expected dtype");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6]}})", "expected dtype");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0]}})",
                        "two data_offsets");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24,24]}})",
                        "two data_offsets");
}

TEST(SafetensorsReader, RefusesOtherTypes) {
  for (const std::string dtype : {"F64", "I64", "F8_E4M3", "BOOL", "f32", ""}) {
    expect_header_refused(R"({"a":{"dtype":")" + dtype + R"(","shape":[3],"data_offsets":[0,24]}})",
                          "tensor a", "'" + dtype + "'");
  }
  // Of packed weights alone, which metadata describe.
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]}})", "tensor a",
                        "'U8'");
}

TEST(SafetensorsReader, RefusesPackedWeightsOtherThanTheMetadataSay) {
  const auto header = [](const std::string& metadata) {
    return R"({"__metadata__":{"longreach":"{\"version\":1,\"weights\":\"int8\",\"isa\":\"any\",)"
           R"(\"source\":\"\",)" +
           metadata + R"(}"},"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]}})";
  };
  expect_header_refused(header(R"(\"shapes\":{},\"crc32\":{})"), "tensor a", "a shape");
  // 24 bytes are no whole file of panels, nor do they begin at a multiple of 64.
  expect_header_refused(header(R"(\"shapes\":{\"a\":[4,6]},\"crc32\":{})"), "tensor a",
                        "multiple of 64");
  std::string aligned = header(R"(\"shapes\":{\"a\":[4,6]},\"crc32\":{})");
  aligned.append(64 - (8 + aligned.size()) % 64, ' ');
  expect_header_refused(aligned, "tensor a", "no checksum");
  expect_header_refused(R"({"__metadata__":{"longreach":"{"},"a":{"dtype":"U8","shape":[24],)"
                        R"("data_offsets":[0,24]}})",
                        "longreach");
}

TEST(SafetensorsReader, RefusesRangesThatDoNotFitTheShapeOrTheFile) {
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,24]}})", "tensor a",
                        "[5]");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[7],"data_offsets":[0,28]}})",
                        "0 to 28 of 24");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}})", "24 to 0");
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", "no elements");
  expect_header_refused(
      R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24]}})",
      "too large");
  expect_header_refused(
      R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,24]}})",
      "does not fill");
  expect_header_refused(
      R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,6],"data_offsets":[0,24]}})", "9 dimensions");
}

TEST(SafetensorsReader, RefusesGapsAndOverlaps) {
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + first +
           R"(},"b":{"dtype":"F32","shape":[4],"data_offsets":)" + second + "}}";
  };
  EXPECT_EQ(read(file_of(two("[16,24]", "[0,16]"), std::string(24, '\0'))).size(), 2U);
  expect_header_refused(two("[0,8]", "[4,20]"), "tensor b", "starts at byte 4");
  expect_header_refused(two("[4,12]", "[8,24]"), "tensor a", "starts at byte 4");
  expect_file_refused(file_of(two("[0,8]", "[8,24]"), std::string(25, '\0')),
                      "end at byte 24 of 25");
}

TEST(SafetensorsReader, RefusesNamesThatAreTaken) {
  const std::string tensor = R"({"dtype":"F32","shape":[3],"data_offsets":)";
  expect_header_refused(R"({"a":)" + tensor + R"([0,12]},"a":)" + tensor + "[12,24]}}", "key \"a\"",
                        "twice");
  expect_header_refused(R"({"__metadata__":{"a":"1","a":"2"}})", "key \"a\"", "twice");
  expect_header_refused("{\"\\u001b[2J\":" + tensor + "[0,12]}}", "'\\x1b[2J'");
}

TEST(SafetensorsReader, SurvivesDeepAndLongHeaders) {
  expect_header_refused(std::string(1'000'000, '['), "a list");
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "{\"a\":";
  expect_header_refused(deep, "an object");
  expect_header_refused(R"({"a":{"shape":)" + std::string(1'000'000, '['), "a list");
  std::string wide = "[1";
  for (int i = 0; i < 1'000'000; ++i) wide += ",1";
  expect_header_refused(R"({"a":{"shape":)" + wide + "]}}", "a long list");
}

TEST(SafetensorsReader, EveryTruncationIsRefused) {
  const std::string file = small_file();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused([&] { read_safetensors(std::as_bytes(std::span(cut)), "y"); }, "y");
  }
}

TEST(SafetensorsReader, EveryFlippedBitIsRefusedOrStaysInsideTheFile) {
  const std::string file = small_file();
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    const std::string torn = test::with_flipped_bit(file, bit);
    try {
      const TensorMap tensors = read(torn);
      // Without checksums a changed name, number or type of the same size cannot be noticed.
      for (const auto& [name, tensor] : tensors) {
        for (std::size_t i = 0; i < tensor.size(); ++i) tensor.at(i);
      }
    } catch (const base::InputError&) {
    }
  }
}

}  // namespace
}  // namespace longreach::model
