#include "model/checkpoint/zip_archive.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/zip_writer.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace longreach::model {
namespace {

using test::bytes_of;
using test::expect_refused;
using test::little_endian;
using test::with_bytes_at;
using test::Zip64;
using test::zip_of;
using test::ZipItem;

std::string text(const ZipEntry& entry) {
  return {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()};
}

template <typename... Parts>
void expect_zip_refused(const std::string& archive, const Parts&... parts) {
  expect_refused([&] { read_zip_entries(bytes_of(archive), "/x/y.pth"); }, "/x/y.pth", parts...);
}

class ZipForms : public ::testing::TestWithParam<Zip64> {};

TEST_P(ZipForms, EntriesAreFoundWhereTheirDataLie) {
  const std::string archive = zip_of({{.name = "a/one", .data = "first"},
                                      {.name = "a/none", .data = ""},
                                      {.name = "a/two", .data = "second", .crc32 = 0},
                                      {.name = "a/no descriptor", .data = "third", .flags = 0}},
                                     GetParam());
  const ZipEntries entries = read_zip_entries(bytes_of(archive), "y");
  ASSERT_EQ(entries.size(), 4U);
  EXPECT_EQ(text(entries.at("a/one")), "first");
  EXPECT_EQ(text(entries.at("a/none")), "");
  EXPECT_EQ(text(entries.at("a/two")), "second");
  EXPECT_EQ(text(entries.at("a/no descriptor")), "third");
  EXPECT_EQ(entries.at("a/one").crc32, 0x9271ee57U);
  EXPECT_EQ(entries.at("a/two").crc32, 0U);
}

INSTANTIATE_TEST_SUITE_P(All, ZipForms,
                         ::testing::Values(Zip64::kNone, Zip64::kEndRecord, Zip64::kEverywhere));

TEST(ZipArchive, MayEndWithAComment) {
  std::string archive = zip_of({{.name = "a", .data = "data"}}, Zip64::kNone);
  archive.replace(archive.size() - 2, 2, little_endian(std::uint16_t{5}) + "PK\5\6!");
  EXPECT_EQ(text(read_zip_entries(bytes_of(archive), "y").at("a")), "data");
}

TEST(ZipArchive, MayBeEmpty) { EXPECT_TRUE(read_zip_entries(bytes_of(zip_of({})), "y").empty()); }

TEST(ZipArchive, RefusesEntriesItCannotMap) {
  expect_zip_refused(zip_of({{.name = "a", .data = "data", .method = 8}}), "'a'", "is compressed");
  expect_zip_refused(zip_of({{.name = "a", .data = "data", .flags = 0x809}}), "'a'", "encrypted");
}

TEST(ZipArchive, RefusesDuplicates) {
  expect_zip_refused(zip_of({{.name = "a", .data = "1"}, {.name = "a", .data = "2"}}), "'a'",
                     "twice");
}

TEST(ZipArchive, RefusesOverlappingEntries) {
  const ZipItem inner{.name = "inner", .data = "data"};
  const ZipItem outer{.name = "outer", .data = zip_of({inner})};
  const std::size_t inner_at = zip_of({outer}).find("PK\3\4", 1);
  ZipItem inside = inner;
  inside.offset = inner_at;
  expect_zip_refused(zip_of({outer, inside}), "'inner'", "overlaps");
  expect_zip_refused(zip_of({outer, {.name = "outer", .data = outer.data, .offset = 0}}),
                     "overlaps");
}

TEST(ZipArchive, RefusesOffsetsOutsideTheFile) {
  expect_zip_refused(zip_of({{.name = "a", .data = "d", .offset = 1'000'000}}), "'a'", "1000000");
  expect_zip_refused(
      zip_of({{.name = "a", .data = "d", .offset = ~std::uint64_t{0}}}, Zip64::kEverywhere), "'a'");
}

TEST(ZipArchive, RefusesNamesForTheTerminalOnlyInEscapedForm) {
  expect_zip_refused(zip_of({{.name = "\x1b[2J\n", .data = "", .method = 8}}), "'\\x1b[2J\\x0a'");
}

TEST(ZipArchive, RefusesHeadersThatContradictTheDirectory) {
  const std::string archive = zip_of({{.name = "name", .data = "data", .flags = 0}});
  const std::size_t name_at = archive.find("name");
  expect_zip_refused(with_bytes_at(archive, name_at, "nama"), "contradicts");
  expect_zip_refused(with_bytes_at(archive, 22, little_endian(std::uint32_t{3})), "contradicts");
  expect_zip_refused(with_bytes_at(archive, 14, little_endian(std::uint32_t{0})), "contradicts");
  expect_zip_refused(with_bytes_at(archive, 0, "PK\3\5"), "no header at byte 0");
}

TEST(ZipArchive, RefusesDescriptorsThatContradictTheDirectory) {
  const std::string archive = zip_of({{.name = "name", .data = "data"}});
  const std::size_t descriptor_at = archive.find("PK\7\10");
  for (const std::size_t field : {0U, 4U, 8U, 12U}) {
    expect_zip_refused(with_bytes_at(archive, descriptor_at + field, "?"), "behind its data");
  }
}

TEST(ZipArchive, RefusesFalseEndRecords) {
  const std::string small = zip_of({{.name = "a", .data = "d"}}, Zip64::kNone);
  const std::size_t end = small.size() - 22;
  expect_zip_refused(with_bytes_at(small, end + 4, "\1"), "several parts");
  expect_zip_refused(with_bytes_at(small, end + 8, "\2\1\2\1"), "entries do not fit");
  expect_zip_refused(with_bytes_at(small, end + 8, std::string(4, '\0')), "left behind");
  expect_zip_refused(with_bytes_at(small, end + 12, "\1"), "central directory");
  expect_zip_refused(with_bytes_at(small, end + 16, "\xff\xff\xff\x7f"), "central directory");
  expect_zip_refused(with_bytes_at(small, end + 16, "\xff\xff\xff\xff"), "zip64", "missing");

  const std::string large = zip_of({{.name = "a", .data = "d"}}, Zip64::kEverywhere);
  const std::size_t locator = large.size() - 22 - 20;
  expect_zip_refused(with_bytes_at(large, locator, "PK\6\5"), "zip64", "missing");
  expect_zip_refused(with_bytes_at(large, locator + 8, "\xff\xff\xff\xff\xff\xff\xff\xff"),
                     "zip64");
  const std::size_t record = locator - 56;
  for (const std::size_t field : {4U, 24U, 32U, 40U, 48U}) {
    expect_zip_refused(with_bytes_at(large, record + field, "\xff\xff\xff\xff\xff\xff\xff\xff"));
  }
  const std::string torch = zip_of({{.name = "a", .data = "d"}}, Zip64::kEndRecord);
  expect_zip_refused(with_bytes_at(torch, torch.size() - 22 + 10, "\2"), "contradict each other");
}

TEST(ZipArchive, RefusesMissingZip64Numbers) {
  std::string archive = zip_of({{.name = "a", .data = "d"}}, Zip64::kEverywhere);
  const std::size_t extra_at = archive.find("PK\1\2") + 46 + 1;
  expect_zip_refused(with_bytes_at(archive, extra_at, "\2"), "zip64 extra field", "too early");
}

TEST(ZipArchive, RefusesEveryTruncation) {
  const std::string archive = zip_of({{.name = "a", .data = "some data"}});
  for (std::size_t size = 0; size < archive.size(); ++size) {
    expect_zip_refused(std::string(archive, 0, size));
  }
}

}  // namespace
}  // namespace longreach::model
