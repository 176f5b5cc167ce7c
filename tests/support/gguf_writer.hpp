/// Writes GGUF files piece by piece.
#pragma once

#include "tests/support/bytes.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::test {

inline std::string gguf_string(std::string_view text) {
  return little_endian(std::uint64_t{text.size()}) + std::string(text);
}

class GgufWriter {
 public:
  /// A value whose bytes follow its type's number.
  GgufWriter& value(std::string_view key, std::uint32_t type, std::string_view bytes) {
    ++n_values_;
    values_ += gguf_string(key) + little_endian(type) + std::string(bytes);
    return *this;
  }
  GgufWriter& text(std::string_view key, std::string_view text) {
    return value(key, 8, gguf_string(text));
  }
  GgufWriter& whole_number(std::string_view key, std::uint32_t number) {
    return value(key, 4, little_endian(number));
  }
  /// A list of a type with so many items.
  GgufWriter& list(std::string_view key, std::uint32_t type, std::uint64_t size,
                   std::string_view bytes) {
    return value(key, 9, little_endian(type) + little_endian(size) + std::string(bytes));
  }
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& texts) {
    std::string bytes;
    for (const std::string& text : texts) bytes += gguf_string(text);
    return list(key, 8, texts.size(), bytes);
  }
  /// `extents` begin with the fastest one.
  GgufWriter& tensor(std::string_view name, const std::vector<std::uint64_t>& extents,
                     std::uint32_t type, std::uint64_t offset) {
    ++n_tensors_;
    tensors_ += gguf_string(name) + little_endian(static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t extent : extents) tensors_ += little_endian(extent);
    tensors_ += little_endian(type) + little_endian(offset);
    return *this;
  }
  /// The file with what its tensors' offsets count in.
  std::string finish(std::string_view data = "", std::size_t alignment = 32) const {
    std::string file = "GGUF" + little_endian(std::uint32_t{3}) + little_endian(n_tensors_) +
                       little_endian(n_values_) + values_ + tensors_;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + std::string(data);
  }

 private:
  std::uint64_t n_values_ = 0, n_tensors_ = 0;
  std::string values_, tensors_;
};

}  // namespace longreach::test
