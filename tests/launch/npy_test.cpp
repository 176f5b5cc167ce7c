#include "launch/npy.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace longreach::launch {
namespace {

namespace fs = std::filesystem;

class NpyWriterTest : public ::testing::Test {
 protected:
  std::size_t n_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

  const test::TempFolder folder_;
  const fs::path file_ = folder_.path() / "logits.npy";
};

TEST_F(NpyWriterTest, WritesRowsInAnyOrder) {
  NpyMatrixWriter writer(file_, 2, 3);
  writer.write_row(1, std::vector<float>{4, 5, 6});
  writer.write_row(0, std::vector<float>{1, 2, 3});
  EXPECT_FALSE(fs::exists(file_)) << "not before it is complete";
  writer.finish();
  EXPECT_EQ(n_files(), 1U);

  std::ostringstream content;
  content << std::ifstream(file_, std::ios::binary).rdbuf();
  const std::string bytes = content.str();
  ASSERT_EQ(bytes.size(), 128U + 6 * sizeof(float)) << "the numbers start at a multiple of 64";
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  EXPECT_EQ(bytes[8], 118) << "what follows the ten bytes of magic, version and length";
  EXPECT_EQ(bytes.substr(10, 62), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   ");
  EXPECT_EQ(bytes[127], '\n');
  std::vector<float> numbers(6);
  std::memcpy(numbers.data(), bytes.data() + 128, 6 * sizeof(float));
  EXPECT_EQ(numbers, (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST_F(NpyWriterTest, LeavesNothingWhenItIsNotFinished) {
  std::ofstream(file_) << "earlier";
  { const NpyMatrixWriter writer(file_, 1, 1); }
  EXPECT_EQ(n_files(), 1U);
  std::string content;
  std::ifstream(file_) >> content;
  EXPECT_EQ(content, "earlier");
}

TEST_F(NpyWriterTest, RefusesWhatIsNoFile) {
  for (const fs::path& path : {folder_.path(), folder_.path() / "absent" / "x.npy"}) {
    test::expect_refused([&path] { NpyMatrixWriter(path, 1, 1); }, path.string());
  }
}

}  // namespace
}  // namespace longreach::launch
