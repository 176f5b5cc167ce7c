/// Numbers that GGUF files keep in blocks of few bits: integers that share scales.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace longreach::model {

/// How a block keeps its numbers. Scales are f16; what they multiply are
enum class BlockFormat {
  kQ4_0,  ///< 32 integers from -8 to 7,
  kQ8_0,  ///< 32 integers from -128 to 127,
  kQ6K,   ///< 256 integers from -32 to 31, every 16 of which share another scale, of 8 bits.
};

/// "q4_0", "q8_0" or "q6_K".
std::string_view name_of(BlockFormat format);

/// Numbers in a block.
std::size_t numbers_in_block(BlockFormat format);
/// Bytes of a block.
std::size_t bytes_of_block(BlockFormat format);

/// Numbers first, first + 1, .. of a run of blocks, in f32. This is exact, but for kQ6K, where the
/// product with the integer is rounded once.
/// Source: the functions dequantize_row_* of ggml's ggml-quants.c.
void read_numbers(BlockFormat format, const std::byte* blocks, std::size_t first,
                  std::span<float> numbers);

}  // namespace longreach::model
