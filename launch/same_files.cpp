#include "launch/same_files.hpp"

#include "dist/comm/gather_texts.hpp"
#include "dist/comm/gather_values.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/sha256.hpp"

#include <fmt/format.h>

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

namespace longreach::launch {
namespace {

using Readers = InputFile::Readers;

/// A file as a rank sees it. Texts, as they go from rank to rank.
struct Seen {
  std::string host, path;
  std::string size_bytes;  ///< Empty: there is no such regular file.
  std::string on_kernel;   ///< The file itself, among those of one running system.
  std::string on_network;  ///< The same among all nodes that mount its file system, if it is one.

  bool is_file() const { return !size_bytes.empty(); }
  bool is_same_file(const Seen& other) const {
    return on_kernel == other.on_kernel || (!on_network.empty() && on_network == other.on_network);
  }
};

bool is_network(std::uint64_t file_system) {
  constexpr std::uint64_t kLustre = 0x0bd00bd0, kGpfs = 0x47504653, kBeegfs = 0x19830326;
  return std::ranges::count(
             std::array<std::uint64_t, 7>{NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
                                          CEPH_SUPER_MAGIC, kLustre, kGpfs, kBeegfs},
             file_system) > 0;
}

/// Different for each running system; where that cannot be known, for each process.
std::string kernel_name(const std::string& host) {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string name;
  if (!(file >> name)) name = fmt::format("{} {}", host, ::getpid());
  return name;
}

Seen look_at(const InputFile& file, const std::string& host) {
  Seen seen{host, file.path.string(), {}, {}, {}};
  struct stat status {};
  if (::stat(file.path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return seen;
  seen.size_bytes = fmt::format("{}", status.st_size);
  seen.on_kernel = fmt::format("{} {} {}", kernel_name(host), status.st_dev, status.st_ino);
  struct statfs mounted {};
  if (::statfs(file.path.c_str(), &mounted) == 0 &&
      is_network(static_cast<std::uint32_t>(mounted.f_type))) {
    seen.on_network = fmt::format("{} {} {} {}.{:09} {}.{:09}", mounted.f_type, status.st_ino,
                                  status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                                  status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
  }
  return seen;
}

/// What all ranks see, by rank. Collective.
std::vector<Seen> look_together(const InputFile& file, dist::World& world) {
  const Seen own = look_at(file, world.host());
  const auto gather = [&world](const std::string& text) {
    return dist::gather_texts(world.communicator(), text);
  };
  const auto hosts = gather(own.host), paths = gather(own.path), sizes = gather(own.size_bytes),
             on_kernel = gather(own.on_kernel), on_network = gather(own.on_network);
  std::vector<Seen> all;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    all.push_back({hosts[rank], paths[rank], sizes[rank], on_kernel[rank], on_network[rank]});
  }
  return all;
}

/// The first rank that sees the same file as this one.
std::size_t first_with(const std::vector<Seen>& seen, std::size_t rank) {
  std::size_t first = 0;
  while (first < rank && !(seen[first].is_file() && seen[first].is_same_file(seen[rank]))) ++first;
  return first;
}

std::string content_hash(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  base::Sha256 hash;
  std::vector<char> piece(std::size_t{1} << 20);
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.update(std::as_bytes(std::span(piece).first(static_cast<std::size_t>(file.gcount()))));
  }
  if (!file.eof()) base::input_error("{}: cannot be read", path.string());
  return hash.hex_digest();
}

[[noreturn]] void refuse(const std::vector<Seen>& seen, std::size_t a, std::size_t b) {
  const std::string names = seen[a].path == seen[b].path
                                ? seen[a].path
                                : fmt::format("{} and {}", seen[a].path, seen[b].path);
  if (!seen[b].is_file()) {
    base::input_error("{}: rank {} on {} has no such file, rank {} on {} has one", names, b,
                      seen[b].host, a, seen[a].host);
  }
  base::input_error("{}: rank {} on {} and rank {} on {} see different contents", names, a,
                    seen[a].host, b, seen[b].host);
}

void require_same(const InputFile& file, dist::World& world) {
  const std::vector<Seen> seen = look_together(file, world);
  const auto reference =
      static_cast<std::size_t>(std::ranges::find_if(seen, &Seen::is_file) - seen.begin());
  if (reference == seen.size()) return;
  bool is_one_file = true;
  world.agree([&] {
    for (std::size_t rank = 0; rank < seen.size(); ++rank) {
      if (!seen[rank].is_file() && file.readers == Readers::kSome) continue;
      if (seen[rank].size_bytes != seen[reference].size_bytes) refuse(seen, reference, rank);
      is_one_file = is_one_file && first_with(seen, rank) == reference;
    }
  });
  if (is_one_file) return;
  const bool hashes =
      seen[world.rank()].is_file() && first_with(seen, world.rank()) == world.rank();
  const std::string own =
      world.agree([&] { return hashes ? content_hash(file.path) : std::string(); });
  const std::vector<std::string> contents = dist::gather_texts(world.communicator(), own);
  world.agree([&] {
    for (std::size_t rank = 0; rank < seen.size(); ++rank) {
      if (!contents[rank].empty() && contents[rank] != contents[reference]) {
        refuse(seen, reference, rank);
      }
    }
  });
}

}  // namespace

void require_same_files(std::span<const InputFile> files, dist::World& world) {
  const auto counts = dist::gather_values(world.communicator(), files.size());
  world.agree([&] {
    for (std::size_t rank = 1; rank < counts.size(); ++rank) {
      if (counts[rank] == counts[0]) continue;
      base::input_error("rank 0 reads {} files and rank {} {}: the model has other parts there",
                        counts[0], rank, counts[rank]);
    }
  });
  for (const InputFile& file : files) require_same(file, world);
}

}  // namespace longreach::launch
