#include "kernels/base/line_file.hpp"

#include "kernels/base/lines.hpp"
#include "kernels/base/read_file.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <utility>
#include <vector>

namespace longreach::base {
namespace {

namespace fs = std::filesystem;

using Lines = std::vector<std::pair<std::size_t, std::string>>;

/// Within its scope this process makes no file larger than that.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t n_bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{n_bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

class LineFileTest : public ::testing::Test {
 protected:
  std::string refused() const {
    return test::refusal([this] { const LineFile file(path_); });
  }

  test::TempFolder folder_;
  fs::path path_ = folder_.path() / "r.jsonl";
};

TEST(Lines, BlankOnesAreCountedAndLeftOut) {
  Lines lines;
  for_lines("one\n\n \t\r\nfour\nfive",
            [&](std::size_t number, std::string_view text) { lines.emplace_back(number, text); });
  EXPECT_EQ(lines, (Lines{{1, "one"}, {4, "four"}, {5, "five"}}));
  EXPECT_EQ(line_name("a/b", 4), "a/b line 4");
}

TEST_F(LineFileTest, LinesStayForALaterRun) {
  {
    LineFile file(path_);
    EXPECT_EQ(file.read().lines, "");
    file.append("one");
    EXPECT_EQ(read_file(path_), "one\n");
    EXPECT_EQ(file.read().lines, "one\n");
    file.append("two");
    file.sync();
  }
  LineFile file(path_);
  EXPECT_EQ(file.read().lines, "one\ntwo\n");
  EXPECT_EQ(file.read().torn, "");
  file.append("three");
  EXPECT_EQ(read_file(path_), "one\ntwo\nthree\n");
}

TEST_F(LineFileTest, WhatFollowsTheLastLineIsItsOwnersAffair) {
  for (const std::string& lines : {std::string(), std::string("one\n\n two\n")}) {
    folder_.write("r.jsonl", lines + "thr");
    LineFile file(path_);
    EXPECT_EQ(file.read().lines, lines);
    EXPECT_EQ(file.read().torn, "thr");
    EXPECT_EQ(read_file(path_), lines + "thr");
    file.truncate(lines.size());
    EXPECT_EQ(file.read().torn, "");
    file.append("four");
    EXPECT_EQ(read_file(path_), lines + "four\n");
  }
}

TEST_F(LineFileTest, ALineIsWrittenAsAWholeOrNotAtAll) {
  LineFile file(path_);
  file.append("one");
  {
    const FileSizeLimit limit(10);
    test::expect_refused([&] { file.append("a long line"); }, "r.jsonl: cannot be written: File");
  }
  EXPECT_EQ(read_file(path_), "one\n");
  file.append("a long line");
  EXPECT_EQ(read_file(path_), "one\na long line\n");
}

TEST_F(LineFileTest, LinesAreSortedByWhatTheirOwnerSays) {
  folder_.write("r.jsonl", "20 first\n3\n\n20 second\n100\n");
  fs::permissions(path_, fs::perms{0640});
  {
    LineFile file(path_);
    std::vector<std::size_t> numbers;
    file.sort([&](std::size_t number, std::string_view text) {
      numbers.push_back(number);
      return std::stoul(std::string(text));
    });
    EXPECT_EQ(numbers, (std::vector<std::size_t>{1, 2, 4, 5}));
    EXPECT_EQ(read_file(path_), "3\n20 first\n20 second\n100\n");
  }
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms{0640});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(LineFileTest, AnEmptyFileGoesWithTheRunThatMadeIt) {
  { const LineFile file(path_); }
  EXPECT_FALSE(fs::exists(path_));
  folder_.write("r.jsonl", "");
  { const LineFile file(path_); }
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(LineFileTest, LinksLeadToTheFile) {
  const fs::path link = folder_.path() / "link";
  fs::create_symlink("r.jsonl", link);
  { const LineFile file(link); }
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_FALSE(fs::exists(path_));
  {
    LineFile file(link);
    EXPECT_EQ(file.name(), link);
    file.append("2");
    file.append("1");
    file.sort([](std::size_t, std::string_view text) { return std::stoul(std::string(text)); });
  }
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read_file(path_), "1\n2\n");
}

TEST_F(LineFileTest, BelongsToOneRunAtATime) {
  {
    const LineFile file(path_);
    EXPECT_NE(refused().find("r.jsonl: cannot be written: another run writes it"),
              std::string::npos);
  }
  EXPECT_NO_THROW(LineFile{path_});
}

TEST_F(LineFileTest, WhatIsNoRegularFileIsRefused) {
  test::expect_refused([] { const LineFile file("/dev/null"); },
                       "/dev/null: cannot be written: not a regular file");
  fs::create_directory(path_);
  EXPECT_NE(refused().find("r.jsonl: cannot be written: Is a directory"), std::string::npos);
}

}  // namespace
}  // namespace longreach::base
