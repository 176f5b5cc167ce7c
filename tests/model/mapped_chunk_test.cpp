#include "model/cache/mapped_chunk.hpp"

#include "model/checkpoint/tensor_file.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/random.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace longreach::model {
namespace {

using partition::Range;

constexpr std::size_t kHeads = 3, kHeadBytes = 8 << 20;
/// The system brings in neighbours of a page that is touched, and lets go of the rest of a large
/// page.
constexpr double kNeighbours = 3 << 20;
constexpr double kOneHead = kHeadBytes;

/// Two chunks in a file.
class MappedHeadsTest : public testing::Test {
 protected:
  MappedHeadsTest() {
    test::Random random(3);
    for (const float value : random.normal(2 * kHeads * kHeadBytes / sizeof(float))) {
      const auto bytes = std::as_bytes(std::span(&value, 1));
      content_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    path_ = folder_.write("chunks", content_);
  }

  std::shared_ptr<MappedChunk> chunk(std::size_t number) {
    const std::size_t n_bytes = kHeads * kHeadBytes;
    const auto as_written = std::as_bytes(std::span(content_)).subspan(number * n_bytes, n_bytes);
    std::vector<std::uint32_t> checksums;
    for (std::size_t head = 0; head < kHeads; ++head) {
      checksums.push_back(crc32_of(as_written.subspan(head * kHeadBytes, kHeadBytes)));
    }
    const auto file = std::make_shared<MappedFile>(path_, number * n_bytes, n_bytes);
    return std::make_shared<MappedChunk>(file, file->bytes(), checksums, path_.string(),
                                         Range{number * 8, number * 8 + 8});
  }

  void damage(std::size_t offset) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(content_[offset] + 1));
  }

  /// Of the chunk's mapping, as the system says.
  static double resident_bytes(const MappedChunk& chunk) {
    std::ostringstream address;
    address << std::hex << reinterpret_cast<std::uintptr_t>(chunk.bytes().data()) << '-';
    std::ifstream maps("/proc/self/smaps");
    bool is_found = false;
    for (std::string line; std::getline(maps, line);) {
      is_found = is_found || line.starts_with(address.str());
      if (is_found && line.starts_with("Rss:")) return 1024 * std::stod(line.substr(4));
    }
    ADD_FAILURE() << "no mapping";
    return 0;
  }

  kernels::ThreadPool pool_{2};
  test::TempFolder folder_;
  std::string content_;
  std::filesystem::path path_;
};

TEST_F(MappedHeadsTest, RefusesADamagedHeadWhenItIsReadForTheFirstTime) {
  damage(kHeads * kHeadBytes + 2 * kHeadBytes + 5);  // the last head of the second chunk
  const auto first = chunk(0), second = chunk(1);
  MappedHeads held;
  held.hold(std::vector<MappedHead>{{first, 0}, {second, 0}, {second, 1}, {second, 1}}, pool_);
  first->verify();
  test::expect_refused(
      [&] {
        held.hold(std::vector<MappedHead>{{second, 2}}, pool_);
      },
      path_.string(), "head 2 of tokens 8 to 15");
  test::expect_refused([&] { second->verify(); }, path_.string(), "head 2 of tokens 8 to 15");
}

TEST_F(MappedHeadsTest, BringsIntoMemoryWhatAStepReads) {
  const auto one = chunk(0);
  MappedHeads held;
  held.hold(std::vector<MappedHead>{{one, 1}}, pool_);
  EXPECT_GE(resident_bytes(*one), kOneHead);
  EXPECT_LE(resident_bytes(*one), kOneHead + kNeighbours);
}

TEST_F(MappedHeadsTest, LetsGoOfWhatWasUsedLongestAgo) {
  const auto first = chunk(0), second = chunk(1);
  MappedHeads held(3 * kHeadBytes);
  held.hold(std::vector<MappedHead>{{first, 0}, {first, 1}}, pool_);
  held.hold(std::vector<MappedHead>{{first, 0}, {second, 0}}, pool_);
  EXPECT_NEAR(resident_bytes(*first), 2 * kOneHead, kNeighbours);
  held.hold(std::vector<MappedHead>{{first, 0}, {second, 1}}, pool_);
  EXPECT_NEAR(resident_bytes(*first) + resident_bytes(*second), 2 * kOneHead, kNeighbours);
  EXPECT_NEAR(resident_bytes(*first), kOneHead, kNeighbours);
  EXPECT_EQ(first->head(1).front(), std::as_bytes(std::span(content_))[kHeadBytes]);
}

TEST_F(MappedHeadsTest, HoldsAllThatAStepReads) {
  const auto one = chunk(0);
  MappedHeads held(1);
  held.hold(std::vector<MappedHead>{{one, 0}, {one, 1}, {one, 2}}, pool_);
  EXPECT_NEAR(resident_bytes(*one), kHeads * kOneHead, kNeighbours);
}

}  // namespace
}  // namespace longreach::model
