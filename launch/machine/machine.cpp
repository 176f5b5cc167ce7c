#include "launch/machine/machine.hpp"

#include "dist/comm/world.hpp"
#include "kernels/simd/isa.hpp"
#include "launch/machine/hwloc_handle.hpp"
#include "launch/options/parse_number.hpp"

#include <fmt/format.h>

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

namespace fs = std::filesystem;

constexpr auto kYieldVariable = "OMPI_MCA_mpi_yield_when_idle";
constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

std::optional<std::string> first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  return line;
}

std::optional<std::size_t> read_count(const fs::path& file) {
  const auto line = first_line(file);
  return line ? parse_number<std::size_t>(*line) : std::nullopt;
}

/// The number behind `key` in a file of "key value" lines (/proc/meminfo, memory.stat).
std::optional<std::size_t> read_entry(const fs::path& file, std::string_view key) {
  std::ifstream in(file);
  std::string name;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::size_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

/// The process's control group below its hierarchy's mount, "" for a controller that is absent.
/// Lines of /proc/self/cgroup are `number:controllers:path`; v2 has no controllers.
std::string group_path(const fs::path& root, std::string_view controller) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    std::string name;
    if (controller.empty() && second == first + 1) return line.substr(second + 1);
    while (std::getline(controllers, name, ',')) {
      if (name == controller) return line.substr(second + 1);
    }
  }
  return "";
}

/// The folders of a group and its parents below `mount`. Inside a container the path may be one
/// that only the host sees; then just the mount counts, which is the container's own group.
std::vector<fs::path> group_folders(const fs::path& mount, const std::string& path) {
  std::vector<fs::path> folders{mount};
  for (const fs::path& part : fs::path(path).relative_path()) {
    if (!fs::is_directory(folders.back() / part)) break;
    folders.push_back(folders.back() / part);
  }
  return folders;
}

/// Bytes a group's limit leaves. Pages of files count as used but are given up when needed.
std::size_t left_in_group(const fs::path& limit_file, const fs::path& usage_file,
                          const fs::path& stat_file, std::string_view inactive_key) {
  const auto limit = read_count(limit_file);  // "max" in v2 is no number
  const auto usage = read_count(usage_file);
  if (!limit || !usage) return kUnlimited;
  const std::size_t reclaimable = read_entry(stat_file, inactive_key).value_or(0);
  const std::size_t used = *usage - std::min(reclaimable, *usage);
  return *limit - std::min(used, *limit);
}

std::size_t left_in_groups(const fs::path& root) {
  std::size_t left = kUnlimited;
  for (const fs::path& folder : group_folders(root / "sys/fs/cgroup", group_path(root, ""))) {
    left = std::min(left, left_in_group(folder / "memory.max", folder / "memory.current",
                                        folder / "memory.stat", "inactive_file"));
  }
  for (const fs::path& folder :
       group_folders(root / "sys/fs/cgroup/memory", group_path(root, "memory"))) {
    left = std::min(
        left, left_in_group(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes",
                            folder / "memory.stat", "total_inactive_file"));
  }
  return left;
}

std::size_t left_in_address_space(const fs::path& root) {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  const std::size_t used = read_entry(root / "proc/self/status", "VmSize:").value_or(0) * 1024;
  return limit.rlim_cur - std::min<std::size_t>(used, limit.rlim_cur);
}

/// The NUMA node of an object; 0 where the machine reports none.
std::uint32_t domain_of(hwloc_obj_t object) {
  const int first = object->nodeset == nullptr ? -1 : hwloc_bitmap_first(object->nodeset);
  return first < 0 ? 0 : static_cast<std::uint32_t>(first);
}

/// Whether Open MPI has been set to let others run while it waits.
bool yields_when_idle() {
  const char* const value = std::getenv(kYieldVariable);
  return value != nullptr && std::string_view(value) != "0" && std::string_view(value) != "false";
}

}  // namespace

std::size_t granted_cores(const fs::path& root) {
  std::size_t granted = kUnlimited;
  const auto consider = [&granted](std::optional<std::size_t> quota,
                                   std::optional<std::size_t> period) {
    if (quota && period && *period > 0)
      granted = std::min(granted, (*quota + *period - 1) / *period);
  };
  for (const fs::path& folder : group_folders(root / "sys/fs/cgroup", group_path(root, ""))) {
    std::istringstream words(
        first_line(folder / "cpu.max").value_or(""));  // "max 100000" or "50000 100000"
    std::string quota, period;
    words >> quota >> period;
    consider(parse_number<std::size_t>(quota), parse_number<std::size_t>(period));
  }
  for (const fs::path& folder :
       group_folders(root / "sys/fs/cgroup/cpu", group_path(root, "cpu"))) {
    consider(read_count(folder / "cpu.cfs_quota_us"), read_count(folder / "cpu.cfs_period_us"));
  }
  return std::max<std::size_t>(1, granted);
}

SeenCores seen_cores(hwloc_topology* topology, const hwloc_bitmap_s* bound) {
  const bool has_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0;
  const hwloc_obj_type_t type = has_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
  SeenCores seen;
  for (hwloc_obj_t object = nullptr;
       (object = hwloc_get_next_obj_by_type(topology, type, object)) != nullptr;) {
    const int first = hwloc_bitmap_first(object->cpuset);
    if (first < 0) continue;
    const dist::Core core{domain_of(object), static_cast<std::uint32_t>(first)};
    seen.cores.push_back(core);
    if (hwloc_bitmap_intersects(object->cpuset, bound) != 0) seen.bound.push_back(core);
  }
  std::ranges::sort(seen.cores);
  std::ranges::sort(seen.bound);
  return seen;
}

SeenCores own_cores() {
  const Topology topology = new_topology();
  if (topology && hwloc_topology_load(topology.get()) == 0) {
    const Bitmap bound = new_bitmap();
    if (hwloc_get_cpubind(topology.get(), bound.get(), HWLOC_CPUBIND_PROCESS) != 0) {
      hwloc_bitmap_fill(bound.get());
    }
    SeenCores seen = seen_cores(topology.get(), bound.get());
    if (!seen.bound.empty()) return seen;
  }
  return {{{}}, {{}}};  // the machine reports nothing: one core
}

dist::MachineReport describe_machine() {
  SeenCores seen = own_cores();
  return {.host = dist::host_name(),
          .isas = kernels::available_isas(),
          .isa = kernels::active_isa(),
          .cores = std::move(seen.cores),
          .bound = std::move(seen.bound),
          .granted_cores = granted_cores(),
          .memory_bytes = available_memory_bytes(),
          .yields = yields_when_idle(),
          .run = {}};
}

void prepare_message_passing() {
  const char* const value = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  const auto n_ranks = value == nullptr ? std::nullopt : parse_number<std::size_t>(value);
  if (!n_ranks || *n_ranks == 1) return;
  if (*n_ranks > std::min(own_cores().cores.size(), granted_cores())) {
    ::setenv(kYieldVariable, "1", 0);
  }
}

std::size_t usable_cores() { return std::min(own_cores().bound.size(), granted_cores()); }

std::size_t available_memory_bytes(const fs::path& root) {
  const auto available_kib = read_entry(root / "proc/meminfo", "MemAvailable:");
  const std::size_t in_system = available_kib ? *available_kib * 1024 : kUnlimited;
  return std::min({in_system, left_in_groups(root), left_in_address_space(root)});
}

std::size_t cache_bytes() {
  const Topology topology = new_topology();
  hwloc_topology* const loaded = topology.get();
  if (!topology || hwloc_topology_set_all_types_filter(loaded, HWLOC_TYPE_FILTER_KEEP_ALL) != 0 ||
      hwloc_topology_load(loaded) != 0) {
    return 0;
  }
  std::size_t sum = 0;
  for (hwloc_obj_t cache = nullptr;
       (cache = hwloc_get_next_obj_by_type(loaded, HWLOC_OBJ_L3CACHE, cache)) != nullptr;) {
    sum += cache->attr->cache.size;
  }
  return sum;
}

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

std::string bytes_text(std::size_t n_bytes) {
  const auto bytes = static_cast<double>(n_bytes);
  if (n_bytes < 1000) return fmt::format("{} bytes", n_bytes);
  if (bytes < 1e6) return fmt::format("{:.1f} kB", bytes / 1e3);
  if (bytes < 1e9) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

}  // namespace longreach::launch
