/// Keys and values as a cache keeps them: how one head's rows of a chunk lie in memory, and what
/// becomes of a row when it is kept. kv-formats.md describes the bytes.
#pragma once

#include "kernels/base/types.hpp"
#include "kernels/matmul/packed_matrix.hpp"
#include "kernels/recurrence/recurrence.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace longreach::kernels {

/// Codes of int8 are -127 .. 127.
inline constexpr float kLargestKvCode = 127;

/// Calls body(std::type_identity<T>()) with the type of a format's numbers.
template <typename Body>
void with_type_of(base::KvFormat format, Body&& body) {
  switch (format) {
    case base::KvFormat::kF32:
      return body(std::type_identity<float>());
    case base::KvFormat::kBf16:
      return body(std::type_identity<base::Bf16>());
    case base::KvFormat::kInt8:
      return body(std::type_identity<std::int8_t>());
  }
}

/// One head's keys and values of a chunk.
struct ChunkRows {
  base::KvFormat format;
  const std::byte* keys;    ///< Panels: column = row of the chunk, step = channel.
  const std::byte* values;  ///< [rows, 64]
  /// One for each row, by which the numbers of its key, of its value, are multiplied; or null.
  const base::Bf16 *key_scales, *value_scales;
};

/// Where the parts of one head's first n rows lie: keys in whole panels, values, and with int8 the
/// scales of keys and of values, behind one another.
class HeadLayout {
 public:
  HeadLayout(base::KvFormat format, std::size_t n_rows)
      : format_(format),
        n_rows_(n_rows),
        padded_rows_(panel_count(n_rows) * kPanelCols),
        row_bytes_(kHeadSize * base::size_of(format)) {}

  base::KvFormat format() const { return format_; }
  std::size_t n_rows() const { return n_rows_; }
  /// A multiple of 64.
  std::size_t size_bytes() const { return scales_begin() + 2 * scales_bytes(); }

  /// The parts of the head at `head`.
  ChunkRows rows(const std::byte* head) const;

  /// Rounds a row to the format and writes it as row `row` of the head at `head`.
  /// Shapes: key, value 64.
  void put(std::byte* head, std::size_t row, std::span<const float> key,
           std::span<const float> value) const;

  /// Copies the first n_rows() rows of `from`, which has as many or more, to `head`.
  void copy(const ChunkRows& from, std::byte* head) const;

 private:
  std::size_t values_begin() const { return padded_rows_ * row_bytes_; }
  std::size_t scales_begin() const { return values_begin() + n_rows_ * row_bytes_; }
  /// Of keys, or of values.
  std::size_t scales_bytes() const { return padded_rows_ * base::scale_bytes(format_); }

  base::KvFormat format_;
  std::size_t n_rows_, padded_rows_, row_bytes_;
};

/// The key and the value of row `row` as they are kept, exact in f32. Shapes: key, value 64.
void read_row(const ChunkRows& rows, std::size_t row, std::span<float> key, std::span<float> value);

/// sums[d] = channel d of the first n_rows keys, as they are kept, added in row order; in f32.
/// Shape: sums 64.
void sum_keys(const ChunkRows& rows, std::size_t n_rows, std::span<float> sums);

}  // namespace longreach::kernels
