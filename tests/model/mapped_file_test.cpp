#include "model/checkpoint/mapped_file.hpp"

#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace longreach::model {
namespace {

using test::expect_refused;
using test::TempFolder;

std::string contents(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, ShowsTheFileAlsoAfterItsPagesWereReleased) {
  const TempFolder folder;
  const MappedFile file(folder.write("f", "some bytes"));
  EXPECT_EQ(contents(file), "some bytes");
  file.release_pages();
  EXPECT_EQ(contents(file), "some bytes");
}

TEST(MappedFile, KeepsItsAddressWhenItIsMoved) {
  const TempFolder folder;
  MappedFile first(folder.write("a", "first"));
  MappedFile second(folder.write("b", "second"));
  const std::byte* const address = first.bytes().data();
  MappedFile moved(std::move(first));
  EXPECT_EQ(moved.bytes().data(), address);
  second = std::move(moved);
  EXPECT_EQ(second.bytes().data(), address);
  EXPECT_EQ(contents(second), "first");
}

TEST(MappedFileDeathTest, NamesAFileThatWasShortened) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TempFolder folder;
  const auto path = folder.write("f", std::string(10000, 'x'));
  const auto read_what_is_gone = [&] {
    const MappedFile file(path);
    std::filesystem::resize_file(path, 100);
    ::_exit(contents(file).back() == 'x' ? 0 : 1);
  };
  EXPECT_EXIT(read_what_is_gone(), testing::ExitedWithCode(2), "longreach: .*f: was shortened");
}

TEST(MappedFile, RefusesWhatIsNoFileWithContents) {
  const TempFolder folder;
  const auto open = [&](const std::filesystem::path& path) { return [path] { MappedFile{path}; }; };
  expect_refused(open(folder.path() / "absent"), (folder.path() / "absent").string(),
                 "No such file");
  expect_refused(open(folder.write("empty", "")), "empty: the file is empty");
  expect_refused(open(folder.path()), folder.path().string(), "found a folder");
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_refused(open(pipe), "pipe: expected a regular file");
}

}  // namespace
}  // namespace longreach::model
