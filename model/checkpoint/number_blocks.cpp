#include "model/checkpoint/number_blocks.hpp"

#include "kernels/base/types.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace longreach::model {
namespace {

constexpr std::size_t kLargestBlock = 256;  // numbers

float half_at(const std::byte* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return base::half_to_float(bits);
}

int unsigned_at(const std::byte* from) { return std::to_integer<int>(*from); }

int signed_at(const std::byte* from) { return static_cast<std::int8_t>(unsigned_at(from)); }

void read_q4_0(const std::byte* block, float* numbers) {
  const float scale = half_at(block);
  const std::byte* const pairs = block + 2;
  for (std::size_t i = 0; i < 16; ++i) {
    const int pair = unsigned_at(pairs + i);
    numbers[i] = scale * static_cast<float>((pair & 15) - 8);
    numbers[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
  }
}

void read_q8_0(const std::byte* block, float* numbers) {
  const float scale = half_at(block);
  for (std::size_t i = 0; i < 32; ++i) {
    numbers[i] = scale * static_cast<float>(signed_at(block + 2 + i));
  }
}

/// Of each half of the block: the low 4 bits of two numbers in each of 64 bytes, the high 2 bits of
/// four numbers in each of 32; then the scales of the whole block, and theirs.
void read_q6_k(const std::byte* block, float* numbers) {
  const std::byte* const low_bits = block;
  const std::byte* const high_bits = block + 128;
  const std::byte* const scales = block + 192;
  const float scale = half_at(block + 208);
  for (std::size_t i = 0; i < 256; ++i) {
    const std::size_t half = i / 128, quarter = i % 128 / 32, place = i % 32;
    const int low = unsigned_at(low_bits + 64 * half + 32 * (quarter % 2) + place);
    const int high = unsigned_at(high_bits + 32 * half + place);
    const int integer = ((low >> (quarter / 2 * 4) & 15) | (high >> (quarter * 2) & 3) << 4) - 32;
    numbers[i] =
        scale * static_cast<float>(signed_at(scales + i / 16)) * static_cast<float>(integer);
  }
}

void read_block(BlockFormat format, const std::byte* block, float* numbers) {
  switch (format) {
    case BlockFormat::kQ4_0:
      return read_q4_0(block, numbers);
    case BlockFormat::kQ8_0:
      return read_q8_0(block, numbers);
    case BlockFormat::kQ6K:
      return read_q6_k(block, numbers);
  }
}

}  // namespace

std::string_view name_of(BlockFormat format) {
  switch (format) {
    case BlockFormat::kQ4_0:
      return "q4_0";
    case BlockFormat::kQ8_0:
      return "q8_0";
    case BlockFormat::kQ6K:
      return "q6_K";
  }
  return {};
}

std::size_t numbers_in_block(BlockFormat format) { return format == BlockFormat::kQ6K ? 256 : 32; }

std::size_t bytes_of_block(BlockFormat format) {
  switch (format) {
    case BlockFormat::kQ4_0:
      return 2 + 16;
    case BlockFormat::kQ8_0:
      return 2 + 32;
    case BlockFormat::kQ6K:
      return 128 + 64 + 16 + 2;
  }
  return 0;
}

void read_numbers(BlockFormat format, const std::byte* blocks, std::size_t first,
                  std::span<float> numbers) {
  const std::size_t n = numbers_in_block(format);
  std::array<float, kLargestBlock> block;
  while (!numbers.empty()) {
    const std::size_t skipped = first % n;
    const std::size_t count = std::min(n - skipped, numbers.size());
    read_block(format, blocks + first / n * bytes_of_block(format), block.data());
    std::copy_n(block.data() + skipped, count, numbers.data());
    first += count;
    numbers = numbers.subspan(count);
  }
}

}  // namespace longreach::model
