#include "kernels/base/output_file.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace longreach::base {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class OutputFileTest : public ::testing::Test {
 protected:
  std::size_t n_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }
  fs::path link(const fs::path& target, const std::string& name) const {
    const fs::path path = folder_.path() / name;
    fs::create_symlink(target, path);
    return path;
  }

  const test::TempFolder folder_;
  const fs::path file_ = folder_.path() / "out";
};

TEST_F(OutputFileTest, GetsItsNameWhenItIsComplete) {
  OutputFile out(file_);
  EXPECT_EQ(n_files(), 0U) << "nothing is made before it is written";
  out.write("one ");
  out.write_at(8, std::as_bytes(std::span("three", 5)));
  out.write_at(4, std::as_bytes(std::span("two ", 4)));
  EXPECT_FALSE(fs::exists(file_));
  out.finish();
  EXPECT_EQ(content(file_), "one two three");
  EXPECT_EQ(n_files(), 1U);
}

TEST_F(OutputFileTest, LeavesWhatWasThereUnlessItIsFinished) {
  folder_.write("out", "before");
  {
    OutputFile out(file_);
    out.write("x");
    EXPECT_EQ(content(file_), "before");
  }
  EXPECT_EQ(content(file_), "before");
  EXPECT_EQ(n_files(), 1U);
}

TEST_F(OutputFileTest, KeepsTheModeOfWhatWasThere) {
  folder_.write("out", "before");
  fs::permissions(file_, fs::perms{0604});
  write_file(file_, "x");
  EXPECT_EQ(content(file_), "x");
  EXPECT_EQ(fs::status(file_).permissions(), fs::perms{0604});
}

TEST_F(OutputFileTest, FollowsLinksToTheirEnd) {
  fs::create_directory(folder_.path() / "store");
  folder_.write("store/there", "before, and longer");
  link("store/there", "link");
  for (const fs::path& name : {link("link", "link to link"), link("store/new", "dangling"),
                               link(fs::absolute(folder_.path() / "dangling"), "far")}) {
    write_file(name, name.filename().string());
    EXPECT_TRUE(fs::is_symlink(name));
    EXPECT_EQ(content(name), name.filename().string());
  }
  EXPECT_EQ(content(folder_.path() / "store/there"), "link to link");
  EXPECT_EQ(content(folder_.path() / "store/new"), "far");
  test::expect_refused([&] { OutputFile(link("loop", "loop")); }, std::string("loop"));
}

TEST_F(OutputFileTest, AllNamesOfAFileGetTheContent) {
  folder_.write("out", "before, and longer");
  fs::create_hard_link(file_, folder_.path() / "other");
  write_file(file_, "x");
  EXPECT_EQ(content(folder_.path() / "other"), "x");
  EXPECT_EQ(n_files(), 2U);
}

TEST_F(OutputFileTest, ALongNameIsNoHindrance) {
  const fs::path name = folder_.path() / std::string(255, 'n');
  write_file(name, "x");
  EXPECT_EQ(content(name), "x");
  test::expect_refused([&] { OutputFile(folder_.path() / std::string(256, 'n')); },
                       std::string("File name too long"));
}

TEST_F(OutputFileTest, ADeviceIsWrittenInPlace) {
  write_file("/dev/null", "x");
  struct stat status {};
  ASSERT_EQ(::stat("/dev/null", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
  write_file(link("/dev/null", "null"), "x");
  EXPECT_TRUE(fs::is_symlink(folder_.path() / "null"));
  test::expect_refused([] { write_file("/dev/full", "x"); }, std::string("/dev/full"));
}

TEST_F(OutputFileTest, ANamedPipeGetsAllInOrder) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  const int reader = ::open(file_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  OutputFile out(file_);
  EXPECT_FALSE(out.is_plain());
  out.write_at(2, std::as_bytes(std::span("cd", 2)));
  out.write_at(4, std::as_bytes(std::span("e", 1)));
  out.write_at(0, std::as_bytes(std::span("ab", 2)));
  out.finish();
  char bytes[8] = {};
  EXPECT_EQ(::read(reader, bytes, sizeof(bytes)), 5);
  EXPECT_STREQ(bytes, "abcde");
  ::close(reader);
  EXPECT_EQ(n_files(), 1U);
}

TEST_F(OutputFileTest, ADescriptorIsWrittenFromWhereItStands) {
  const int descriptor = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(::write(descriptor, "head ", 5), 5);
  const fs::path name = fmt::format("/proc/self/fd/{}", descriptor);
  for (const fs::path& path : {name, link(name, "link"), fs::path("/dev/fd") / name.filename()}) {
    OutputFile out(path);
    EXPECT_TRUE(out.is_descriptor() && !out.is_plain());
    out.write("x");
    out.finish();
  }
  EXPECT_EQ(content(file_), "head xxx");
  ::close(descriptor);
  const int to_read = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC);
  test::expect_refused([&] { OutputFile(fmt::format("/proc/self/fd/{}", to_read)); },
                       std::string("Bad file descriptor"));
  ::close(to_read);
  test::expect_refused([&] { OutputFile(fmt::format("/proc/self/fd/{}", to_read)); },
                       std::string("Bad file descriptor"));
}

TEST_F(OutputFileTest, WhatCannotBeWrittenIsRefusedAtOnce) {
  folder_.write("out", "before");
  for (const fs::path& name :
       {folder_.path(), folder_.path() / "absent" / "x", folder_.path() / "absent/", file_ / "x",
        fs::path("."), fs::path("..")}) {
    test::expect_refused([&name] { const OutputFile out(name); },
                         name.string() + ": cannot be written: ");
  }
  EXPECT_EQ(content(file_), "before");
}

TEST_F(OutputFileTest, NamesOfOneFileAreKnown) {
  folder_.write("there", "");
  const auto identity = [](const fs::path& name) { return OutputFile(name).identity(); };
  const fs::path there = folder_.path() / "there";
  fs::create_hard_link(there, folder_.path() / "hard");
  for (const fs::path& name :
       {folder_.path() / "." / "there", link("there", "soft"), folder_.path() / "hard"}) {
    EXPECT_EQ(identity(name), identity(there)) << name;
    EXPECT_EQ(identity_of(name), identity(there)) << name;
  }
  EXPECT_EQ(identity(folder_.path() / "." / "new"), identity(link("new", "dangling")));
  EXPECT_NE(identity(folder_.path() / "new"), identity(folder_.path() / "newer"));
  EXPECT_NE(identity(folder_.path() / "new"), identity(there));
  EXPECT_EQ(identity_of(folder_.path() / "new"), std::nullopt);
}

}  // namespace
}  // namespace longreach::base
