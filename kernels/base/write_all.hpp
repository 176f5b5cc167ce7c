/// Bytes to a descriptor, and messages to standard error.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace longreach::base {

/// Writes all bytes, and waits where they cannot be taken yet, also if the descriptor is one that
/// does not block. Returns 0, or the number of the system's error.
[[nodiscard]] int write_all(int descriptor, std::span<const std::byte> bytes) noexcept;

/// Writes all bytes at an offset. Returns 0, or the number of the system's error.
[[nodiscard]] int write_all_at(int descriptor, std::size_t offset,
                               std::span<const std::byte> bytes) noexcept;

/// Writes a message to standard error. What cannot be written is lost: a message never decides how
/// a run ends.
void write_message(std::string_view text) noexcept;

}  // namespace longreach::base
