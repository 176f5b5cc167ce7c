/// What this process may use of the machine it runs on.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace longreach::launch {

/// Physical cores of the process's CPU set, at most as many as its control group grants CPU time
/// for; at least 1.
std::size_t usable_cores();

/// Bytes the process can still take: the least of what the system has available, what its control
/// groups (v1 or v2, up to the root) leave, and what its address-space limit leaves. `root` stands
/// in for the root of the file system in tests.
std::size_t available_memory_bytes(const std::filesystem::path& root = "/");

/// Bytes of the node's last-level caches together; 0 if it does not tell.
std::size_t cache_bytes();

/// What the CPU calls itself, or "unknown CPU".
std::string cpu_name();

/// "1.50 GB", "3.2 MB", "12 bytes": decimal units, for messages.
std::string bytes_text(std::size_t n_bytes);

}  // namespace longreach::launch
