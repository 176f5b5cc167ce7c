#include "kernels/base/regular_file.hpp"

#include "kernels/base/read_file.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace longreach::base {
namespace {

TEST(RegularFile, OpensOrMakesOne) {
  const test::TempFolder folder;
  EXPECT_TRUE(open_regular_file(folder.write("a", "abc"), O_RDONLY).is_open());
  EXPECT_EQ(read_regular_file(folder.path() / "a"), "abc");
  const auto made = open_regular_file(folder.path() / "b", O_RDWR | O_CREAT);
  EXPECT_EQ(::write(made.number(), "x", 1), 1);
  EXPECT_EQ(read_regular_file(folder.path() / "b"), "x");
}

TEST(RegularFile, RefusesWhatElseHasANameWithoutWaiting) {
  const test::TempFolder folder;
  const std::string pipe = folder.path() / "pipe", socket = folder.path() / "socket";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(socket.size(), sizeof address.sun_path);
  std::ranges::copy(socket, address.sun_path);
  const Descriptor listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(listener.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  for (const int flags : {O_RDONLY, O_RDWR | O_CREAT}) {
    test::expect_refused([&] { open_regular_file(pipe, flags); }, pipe, "expected a regular file");
    test::expect_refused([&] { open_regular_file(socket, flags); }, socket, "cannot be opened");
    test::expect_refused([&] { open_regular_file("/dev/null", flags); }, "expected a regular file");
    test::expect_refused([&] { open_regular_file(folder.path(), flags); }, folder.path().string());
  }
  test::expect_refused([&] { read_regular_file(pipe); }, pipe, "expected a regular file");
  test::expect_refused([&] { read_regular_file(folder.path() / "absent"); }, "absent",
                       "No such file");
}

}  // namespace
}  // namespace longreach::base
