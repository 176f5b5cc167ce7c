/// A model of the AMX instructions that longreach uses, in plain C++, so that what is built on them
/// is tested on every machine. Source: Intel's description of LDTILECFG, TILELOADD, TILESTORED,
/// TILEZERO, TILERELEASE, TDPBF16PS, TDPBSSD and TDPBUSD. What the CPU refuses ends the test
/// program.
#pragma once

#include "kernels/matmul/amx_kernel.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace longreach::test {

/// Numbers as TDPBF16PS sees and leaves them: those too small to be normal are zero.
inline float without_denormals(float x) {
  return std::abs(x) < 0x1p-126F ? std::copysign(0.0F, x) : x;
}

/// The `Tiles` of kernels/matmul/amx_kernel.hpp.
class AmxModel {
 public:
  static void configure(const kernels::TileConfig& config) {
    LR_CHECK(config.palette == 1 && config.start_row == 0);
    for (const auto byte : config.reserved) LR_CHECK(byte == 0);
    for (std::size_t tile = 0; tile < config.rows.size(); ++tile) {
      LR_CHECK(config.rows[tile] <= kRows && config.row_bytes[tile] <= kRowBytes);
      LR_CHECK((config.rows[tile] == 0) == (config.row_bytes[tile] == 0));
      LR_CHECK(tile < kTiles || config.rows[tile] == 0);
    }
    tiles_ = {};
    config_ = config;
  }
  static void release() {
    tiles_ = {};
    config_ = {};
  }
  template <int kTile>
  static void zero() {
    check_tile<kTile>();
    tiles_[kTile] = {};
  }
  template <int kTile>
  static void load(const void* from, std::size_t row_bytes) {
    check_tile<kTile>();
    tiles_[kTile] = {};
    for (std::size_t row = 0; row < rows<kTile>(); ++row) {
      std::memcpy(tiles_[kTile][row].data(), static_cast<const std::byte*>(from) + row * row_bytes,
                  config_.row_bytes[kTile]);
    }
  }
  template <int kTile>
  static void store(void* to, std::size_t row_bytes) {
    check_tile<kTile>();
    for (std::size_t row = 0; row < rows<kTile>(); ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * row_bytes, tiles_[kTile][row].data(),
                  config_.row_bytes[kTile]);
    }
  }

  template <int kSum, int kA, int kB>
  static void add_bf16_products() {
    check_product<kSum, kA, kB>();
    const std::size_t n_cols = words<kSum>(), n_pairs = words<kA>();
    for (std::size_t row = 0; row < rows<kSum>(); ++row) {
      for (std::size_t col = 0; col < n_cols; ++col) {
        float sum_of_even = 0, sum_of_odd = 0;
        for (std::size_t pair = 0; pair < n_pairs; ++pair) {
          const std::uint32_t a = tiles_[kA][row][pair], b = tiles_[kB][pair][col];
          sum_of_even = add_product(lower(a), lower(b), sum_of_even);
          sum_of_odd = add_product(upper(a), upper(b), sum_of_odd);
        }
        std::uint32_t& bits = tiles_[kSum][row][col];
        const float sum = without_denormals(sum_of_even + sum_of_odd);
        const float before = without_denormals(std::bit_cast<float>(bits));
        bits = std::bit_cast<std::uint32_t>(without_denormals(before + sum));
      }
    }
  }
  template <int kSum, int kA, int kB>
  static void add_signed_products() {
    add_byte_products<kSum, kA, kB, std::int8_t>();
  }
  template <int kSum, int kA, int kB>
  static void add_unsigned_products() {
    add_byte_products<kSum, kA, kB, std::uint8_t>();
  }

  /// Products of tiles so far, by this thread.
  static std::size_t n_products() { return n_products_; }

 private:
  static constexpr std::size_t kTiles = 8, kRows = 16, kRowBytes = 64;

  template <int kTile>
  static void check_tile() {
    static_assert(kTile >= 0 && kTile < static_cast<int>(kTiles));
    LR_CHECK(config_.rows[kTile] != 0);
  }
  template <int kTile>
  static std::size_t rows() {
    return config_.rows[kTile];
  }
  /// 32-bit elements of a row.
  template <int kTile>
  static std::size_t words() {
    return config_.row_bytes[kTile] / sizeof(std::uint32_t);
  }

  template <int kSum, int kA, int kB>
  static void check_product() {
    static_assert(kSum != kA && kSum != kB && kA != kB);
    check_tile<kSum>();
    check_tile<kA>();
    check_tile<kB>();
    LR_CHECK(rows<kSum>() == rows<kA>() && words<kB>() == words<kSum>());
    LR_CHECK(rows<kB>() == words<kA>());
    ++n_products_;
  }

  /// Sums wrap around.
  template <int kSum, int kA, int kB, typename AByte>
  static void add_byte_products() {
    check_product<kSum, kA, kB>();
    for (std::size_t row = 0; row < rows<kSum>(); ++row) {
      for (std::size_t col = 0; col < words<kSum>(); ++col) {
        for (std::size_t four = 0; four < words<kA>(); ++four) {
          const std::uint32_t a = tiles_[kA][row][four], b = tiles_[kB][four][col];
          for (int shift = 0; shift < 32; shift += 8) {
            const int product =
                static_cast<AByte>(a >> shift) * static_cast<std::int8_t>(b >> shift);
            tiles_[kSum][row][col] += static_cast<std::uint32_t>(product);
          }
        }
      }
    }
  }

  static float lower(std::uint32_t pair) {
    return without_denormals(std::bit_cast<float>(pair << 16));
  }
  static float upper(std::uint32_t pair) {
    return without_denormals(std::bit_cast<float>(pair & 0xffff0000U));
  }
  static float add_product(float a, float b, float sum) {
    return without_denormals(std::fma(a, b, sum));
  }

  using Tile = std::array<std::array<std::uint32_t, kRowBytes / 4>, kRows>;
  static inline thread_local std::array<Tile, kTiles> tiles_{};
  static inline thread_local kernels::TileConfig config_{};
  static inline thread_local std::size_t n_products_ = 0;
};

}  // namespace longreach::test
