#include "launch/machine/machine.hpp"

#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace longreach::launch {
namespace {

namespace fs = std::filesystem;

/// A root folder with made-up /proc and /sys files.
class FakeRoot : public ::testing::Test {
 protected:
  FakeRoot() {
    write("proc/meminfo",
          "MemTotal:       16000 kB\nMemFree:         10 kB\nMemAvailable:    8000 kB\n");
  }

  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((folder_.path() / file).parent_path());
    folder_.write(file.string(), text);
  }

  const test::TempFolder folder_;
  const fs::path& root_ = folder_.path();
};

TEST_F(FakeRoot, WithoutGroupsTheSystemDecides) {
  EXPECT_EQ(available_memory_bytes(root_), 8000U * 1024);
}

TEST_F(FakeRoot, TheTightestGroupOfVersion2Decides) {
  write("proc/self/cgroup", "0::/outer/inner\n");
  write("sys/fs/cgroup/outer/memory.max", "5000000\n");
  write("sys/fs/cgroup/outer/memory.current", "3000000\n");
  write("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 400000\n");
  write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  write("sys/fs/cgroup/outer/inner/memory.current", "1\n");
  EXPECT_EQ(available_memory_bytes(root_), 2400000U) << "inactive file pages are given up";
}

TEST_F(FakeRoot, GroupsOfVersion1) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/jobs\n");
  write("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "1000\n");
  write("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "1500\n");
  EXPECT_EQ(available_memory_bytes(root_), 0U) << "above its limit, nothing is left";
}

TEST_F(FakeRoot, APathThatOnlyTheHostSeesMeansTheMountedGroup) {
  write("proc/self/cgroup", "0::/docker/abc\n");
  write("sys/fs/cgroup/memory.max", "7000\n");
  write("sys/fs/cgroup/memory.current", "2000\n");
  EXPECT_EQ(available_memory_bytes(root_), 5000U);
}

TEST_F(FakeRoot, TheTightestQuotaOfTimeDecides) {
  EXPECT_GT(granted_cores(root_), 1000U) << "nothing is limited";
  write("proc/self/cgroup", "0::/outer/inner\n");
  write("sys/fs/cgroup/outer/cpu.max", "250000 100000\n");
  write("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  EXPECT_EQ(granted_cores(root_), 3U) << "two and a half cores' worth";
}

TEST(Machine, TheRealOneHasSomething) {
  EXPECT_GE(usable_cores(), 1U);
  EXPECT_GT(available_memory_bytes(), 0U);
  EXPECT_FALSE(cpu_name().empty());
}

TEST(BytesText, ChoosesTheUnit) {
  EXPECT_EQ(bytes_text(12), "12 bytes");
  EXPECT_EQ(bytes_text(2758912), "2.8 MB");
  EXPECT_EQ(bytes_text(7153966080), "7.15 GB");
}

}  // namespace
}  // namespace longreach::launch
