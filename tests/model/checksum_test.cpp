#include "model/checkpoint/checksum.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace longreach::model {
namespace {

std::vector<std::byte> random_bytes(test::Random& random, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.whole(0, 255));
  return bytes;
}

TEST(Checksum, IsTheOneThatZipArchivesHave) {
  const std::string_view digits = "123456789";  // the check value of CRC-32/ISO-HDLC
  EXPECT_EQ(crc32_of(std::as_bytes(std::span(digits))), 0xcbf43926U);
}

TEST(Checksum, OfPiecesIsThatOfTheWhole) {
  test::Random random;
  const std::vector<std::byte> bytes = random_bytes(random, 3000);
  for (int i = 0; i < 100; ++i) {
    JoinedCrc32 sum;
    std::span<const std::byte> rest = bytes;
    while (!rest.empty()) {
      const std::size_t longest = std::min<std::size_t>(rest.size(), 700);
      const std::size_t n = random.whole(0, longest);
      for (int twice = 0; twice < 2 && n <= rest.size(); ++twice) {  // equal lengths, too
        sum.append(crc32_of(rest.first(n)), n);
        rest = rest.subspan(n);
      }
    }
    ASSERT_EQ(sum.value(), crc32_of(bytes));
  }
}

TEST(Checksum, IsComparedByAllThreads) {
  test::Random random;
  kernels::ThreadPool pool(3);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, (std::size_t{3} << 20) + 5}) {
    std::vector<std::byte> bytes = random_bytes(random, size);
    const ChecksummedRange range{"m.pth: entry", bytes, crc32_of(bytes)};
    EXPECT_NO_THROW(check_crc32(range, pool));
    if (size == 0) continue;
    bytes[random.whole(0, size - 1)] ^= std::byte{1};
    test::expect_refused([&] { check_crc32(range, pool); }, "m.pth: entry", "damaged");
  }
}

TEST(Checksum, OfRowsSeesEveryRow) {
  test::Random random;
  kernels::ThreadPool pool(2);
  constexpr std::size_t kRows = 11, kRunRows = 3;
  std::vector<std::byte> bytes = random_bytes(random, kRows * 4);
  const ChecksummedRange range{"m.pth: entry", bytes, crc32_of(bytes)};
  const auto compare = [&](partition::Range used) {
    RowChecksums rows(range, kRows, used, kRunRows);
    for (std::size_t begin = used.begin; begin < used.end; begin += kRunRows) {
      rows.read({begin, std::min(begin + kRunRows, used.end)});
    }
    rows.compare(pool);
  };
  for (const partition::Range used :
       {partition::Range{0, kRows}, partition::Range{4, 9}, partition::Range{0, 1},
        partition::Range{5, kRows}, partition::Range{2, 2}}) {
    EXPECT_NO_THROW(compare(used));
    for (std::byte& byte : bytes) {
      byte ^= std::byte{0x10};
      test::expect_refused([&] { compare(used); }, "m.pth: entry", "damaged");
      byte ^= std::byte{0x10};
    }
  }
}

}  // namespace
}  // namespace longreach::model
