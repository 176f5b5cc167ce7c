/// Reads little-endian numbers from bytes and never beyond their end. Used by the checkpoint
/// readers.
#pragma once

#include "kernels/base/error.hpp"

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace longreach::model {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

/// A position that moves forward through some bytes.
/// Errors: InputError from every reading function if the bytes end early.
class ByteReader {
 public:
  /// `what` names the bytes in errors, for example "/x/y.pth: central directory".
  ByteReader(std::span<const std::byte> bytes, std::string what)
      : bytes_(bytes), what_(std::move(what)) {}

  const std::string& what() const { return what_; }
  /// Bytes read so far.
  std::size_t position() const { return position_; }
  /// Bytes left.
  std::size_t remaining() const { return bytes_.size() - position_; }

  /// The next `count` bytes.
  std::span<const std::byte> take(std::uint64_t count) {
    if (count > remaining()) {
      base::input_error("{}: ends too early: {} bytes expected at byte {}, {} found", what_, count,
                        position_, remaining());
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }

  /// The next `count` bytes as text that lives as long as the bytes.
  std::string_view take_text(std::uint64_t count) {
    const auto taken = take(count);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  /// The next number, for example number<std::uint32_t>().
  template <std::integral Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string what_;
  std::size_t position_ = 0;
};

}  // namespace longreach::model
