#include "model/checkpoint/number_blocks.hpp"

#include "kernels/base/types.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "tests/support/bytes.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace longreach::model {
namespace {

constexpr BlockFormat kFormats[] = {BlockFormat::kQ4_0, BlockFormat::kQ8_0, BlockFormat::kQ6K};

/// Blocks of random bytes with scales that are numbers.
std::string random_blocks(BlockFormat format, std::size_t n_blocks) {
  std::mt19937 random(n_blocks);
  std::string bytes(n_blocks * bytes_of_block(format), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (std::size_t i = 0; i < n_blocks; ++i) {
    const std::size_t scale = format == BlockFormat::kQ6K ? bytes_of_block(format) - 2 : 0;
    // From 2^-14 to 1: exponents of infinities and subnormals do not occur.
    const auto half = static_cast<std::uint16_t>(random() % 0x3800 + 0x0400);
    bytes.replace(i * bytes_of_block(format) + scale, 2, test::little_endian(half));
  }
  return bytes;
}

std::vector<float> all_numbers(BlockFormat format, const std::string& blocks) {
  std::vector<float> numbers(blocks.size() / bytes_of_block(format) * numbers_in_block(format));
  read_numbers(format, test::bytes_of(blocks).data(), 0, numbers);
  return numbers;
}

TEST(NumberBlocks, ReadsIntegersTimesTheScale) {
  const std::string two = test::little_endian(std::uint16_t{0x4000});
  const std::vector<float> q4 =
      all_numbers(BlockFormat::kQ4_0, two + "\xf0" + std::string(15, '\x38'));
  EXPECT_EQ(q4[0], -16.0F);
  EXPECT_EQ(q4[16], 14.0F);
  EXPECT_EQ(q4[1], 0.0F);
  EXPECT_EQ(q4[17], -10.0F);
  EXPECT_EQ(q4[31], -10.0F);
  const std::vector<float> q8 =
      all_numbers(BlockFormat::kQ8_0, two + "\x80\x7f\xff" + std::string(29, '\0'));
  EXPECT_EQ(q8[0], -256.0F);
  EXPECT_EQ(q8[1], 254.0F);
  EXPECT_EQ(q8[2], -2.0F);
  EXPECT_EQ(q8[31], 0.0F);
}

/// The four runs of 32 numbers of a half, as ggml's loops write them.
TEST(NumberBlocks, ReadsBlocksOfSixBits) {
  const std::string blocks = random_blocks(BlockFormat::kQ6K, 3);
  const std::vector<float> numbers = all_numbers(BlockFormat::kQ6K, blocks);
  for (std::size_t b = 0; b < 3; ++b) {
    const auto byte = [&](std::size_t i) {
      return static_cast<unsigned char>(blocks[210 * b + i]);
    };
    const float scale = base::half_to_float(static_cast<std::uint16_t>(byte(208) | byte(209) << 8));
    for (std::size_t half = 0; half < 2; ++half) {
      for (std::size_t l = 0; l < 32; ++l) {
        const int first = byte(64 * half + l), second = byte(64 * half + 32 + l);
        const int high = byte(128 + 32 * half + l);
        const int integers[] = {
            (first & 15) | (high & 3) << 4, (second & 15) | (high >> 2 & 3) << 4,
            (first >> 4) | (high >> 4 & 3) << 4, (second >> 4) | (high >> 6) << 4};
        for (std::size_t run = 0; run < 4; ++run) {
          const auto small = static_cast<std::int8_t>(byte(192 + 8 * half + 2 * run + l / 16));
          EXPECT_EQ(numbers[256 * b + 128 * half + 32 * run + l],
                    scale * static_cast<float>(small) * static_cast<float>(integers[run] - 32));
        }
      }
    }
  }
}

TEST(NumberBlocks, ReadsAnyRun) {
  for (const BlockFormat format : kFormats) {
    const std::string blocks = random_blocks(format, 3);
    const std::vector<float> all = all_numbers(format, blocks);
    const std::size_t n = numbers_in_block(format);
    for (const std::size_t first : {std::size_t{0}, std::size_t{1}, n - 1, n, 2 * n - 1}) {
      for (const std::size_t count : {std::size_t{0}, std::size_t{1}, n, n + 1}) {
        std::vector<float> run(count);
        read_numbers(format, test::bytes_of(blocks).data(), first, run);
        EXPECT_TRUE(std::equal(run.begin(), run.end(), all.begin() + static_cast<long>(first)));
      }
    }
  }
}

TEST(NumberBlocks, GiveRowsOfMatricesEitherWayRound) {
  for (const BlockFormat format : kFormats) {
    const std::size_t n = numbers_in_block(format);
    const std::string blocks = random_blocks(format, 6);
    const std::vector<float> all = all_numbers(format, blocks);
    Tensor matrix;
    matrix.shape = {3, 2 * n};
    matrix.strides = {2 * n, 1};
    matrix.data = test::bytes_of(blocks).data();
    matrix.blocks = format;
    Tensor transposed = matrix;
    transposed.shape = {2 * n, 3};
    transposed.strides = {1, 2 * n};
    MatrixRows some_rows(matrix, 2), some_columns(transposed, 2 * n);
    const kernels::StridedMatrix rows = some_rows.read({1, 3});
    const kernels::StridedMatrix columns = some_columns.read({1, 2 * n});
    EXPECT_EQ(rows.dtype, base::DType::kF32);
    std::vector<float> row(3);
    for (std::size_t c = 1; c < 2 * n; ++c) {
      read_row(transposed, c, row);
      for (std::size_t r = 0; r < 3; ++r) {
        const float expected = all[r * 2 * n + c];
        EXPECT_EQ(matrix.at(r * 2 * n + c), expected);
        EXPECT_EQ(transposed.at(c * 3 + r), expected);
        EXPECT_EQ(row[r], expected);
        EXPECT_EQ(columns.at(c - 1, r), expected);
        if (r > 0) {
          EXPECT_EQ(rows.at(r - 1, c), expected);
        }
      }
    }
  }
}

}  // namespace
}  // namespace longreach::model
