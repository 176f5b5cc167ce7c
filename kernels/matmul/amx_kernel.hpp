/// The loops around tile instructions, for anything that offers these instructions: the CPU
/// (amx_product.cpp), or a model of it in tests. `Tiles` has
///
///   configure(config)          gives the tiles their sizes and zeroes them
///   release()                  gives the tiles back
///   zero<t>()
///   load<t>(from, row_bytes)   rows of a tile, row_bytes from one to the next
///   store<t>(to, row_bytes)
///   add_bf16_products<c, a, b>()
///   add_signed_products<c, a, b>(), add_unsigned_products<c, a, b>()
///                              of bytes: those of a are signed or not, those of b signed
///
/// all static, tiles named by their numbers 0 .. 7, and every thread has tiles of its own.
#pragma once

#include "kernels/matmul/amx_product.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace longreach::kernels {

/// What the instruction that configures tiles reads.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0;
  std::array<std::uint8_t, 14> reserved{};
  std::array<std::uint16_t, 16> row_bytes{};
  std::array<std::uint8_t, 16> rows{};
};
static_assert(sizeof(TileConfig) == 64);

/// Of a whole tile.
inline constexpr std::size_t kTileRowBytes = 64, kTileCols = kTileRowBytes / sizeof(float);
static_assert(2 * kTileCols == kPanelCols);

/// Up to 32 rows of activations by the 32 columns of a panel: two by two tiles of sums, which is
/// what it takes for one addition to a tile to end before the next begins.
///   0 .. 3   sums: tile 2 h + v has half h of the rows and half v of the columns
///   4, 5     activations of a half of the rows
///   6, 7     weights of a half of the columns
template <class Tiles, std::size_t kTerms>
class AmxKernel {
 public:
  static constexpr std::size_t kRows = 2 * kTermRows;

  AmxKernel(const TermRows<kTerms>& x, const Bf16Block* panels, std::size_t panel_stride,
            Start start)
      : x_(x), panels_(panels), panel_stride_(panel_stride), start_(start) {}

  /// All of y.
  void operator()(base::MatView<float> y) const {
    for (std::size_t row = 0; row < y.rows(); row += kRows) {
      const auto y_rows = y.rows(row, std::min(kRows, y.rows() - row));
      Tiles::configure(kConfigs[y_rows.rows()]);
      const std::size_t group = row / kTermRows;
      for (std::size_t col = 0; col < y.cols(); col += kPanelCols) {
        const Bf16Block* weights = panels_ + col / kPanelCols * panel_stride_;
        const auto part = y_rows.cols(col, std::min(kPanelCols, y.cols() - col));
        if (part.cols() == kPanelCols) {
          panel(group, weights, part);
        } else {
          ragged_panel(group, weights, part);
        }
      }
    }
    Tiles::release();
  }

 private:
  static_assert(sizeof(TermBlock<kTerms>::terms) == kTerms * kTermRows * kTileRowBytes);

  /// Tiles for n_rows rows; those that no row needs are absent.
  static constexpr TileConfig config_of(std::size_t n_rows) {
    TileConfig config;
    const auto shape = [&config](std::size_t tile, std::size_t rows) {
      config.rows[tile] = static_cast<std::uint8_t>(rows);
      config.row_bytes[tile] = rows == 0 ? 0 : kTileRowBytes;
    };
    const std::size_t first_half = std::min(n_rows, kTermRows);
    for (const std::size_t tile : {0U, 1U, 4U}) shape(tile, first_half);
    for (const std::size_t tile : {2U, 3U, 5U}) shape(tile, n_rows - first_half);
    for (const std::size_t tile : {6U, 7U}) shape(tile, kScaleBlock / 2);
    return config;
  }

  static constexpr std::array<TileConfig, kRows + 1> kConfigs = [] {
    std::array<TileConfig, kRows + 1> configs;
    for (std::size_t n_rows = 1; n_rows <= kRows; ++n_rows) configs[n_rows] = config_of(n_rows);
    return configs;
  }();

  void panel(std::size_t group, const Bf16Block* weights, base::MatView<float> y) const {
    if (y.rows() > kTermRows) {
      add_blocks<2>(group, weights, y.data(), y.stride());
    } else {
      add_blocks<1>(group, weights, y.data(), y.stride());
    }
  }

  /// The last, partly used panel: through a scratch of full width.
  void ragged_panel(std::size_t group, const Bf16Block* weights, base::MatView<float> y) const {
    alignas(64) std::array<float, kRows * kPanelCols> scratch;
    const base::MatView<float> wide(scratch.data(), y.rows(), kPanelCols);
    const std::size_t row_bytes = y.cols() * sizeof(float);
    if (start_ == Start::kContinue) {
      scratch.fill(0);
      for (std::size_t r = 0; r < y.rows(); ++r) {
        std::memcpy(wide.row(r).data(), y.row(r).data(), row_bytes);
      }
    }
    panel(group, weights, wide);
    for (std::size_t r = 0; r < y.rows(); ++r) {
      std::memcpy(y.row(r).data(), wide.row(r).data(), row_bytes);
    }
  }

  /// kHalves: how many tiles the rows fill.
  template <std::size_t kHalves>
  void add_blocks(std::size_t group, const Bf16Block* weights, float* y,
                  std::size_t y_stride) const {
    const std::size_t y_bytes = y_stride * sizeof(float);
    float* const below = y + kTermRows * y_stride;
    if (start_ == Start::kZero) {
      zero_sums<0>();
      if constexpr (kHalves == 2) zero_sums<2>();
    } else {
      load_sums<0>(y, y_bytes);
      if constexpr (kHalves == 2) load_sums<2>(below, y_bytes);
    }
    const std::size_t n_blocks = x_.cols();
    const TermBlock<kTerms>* const x = x_.row(group).data();
    const TermBlock<kTerms>* const x_below = kHalves == 2 ? x_.row(group + 1).data() : nullptr;
    for (std::size_t b = 0; b < n_blocks; ++b) {
      const auto& w = weights[b].weights;
      if constexpr (kHalves == 1) prefetch(&weights[b + kBlocksAhead]);
      Tiles::template load<6>(&w[0][0], sizeof(w[0]));
      Tiles::template load<7>(&w[0][kTileCols], sizeof(w[0]));
      for (std::size_t term = 0; term < kTerms; ++term) {
        Tiles::template load<4>(x[b].terms[term].data(), kTileRowBytes);
        if constexpr (kHalves == 2) {
          Tiles::template load<5>(x_below[b].terms[term].data(), kTileRowBytes);
        }
        Tiles::template add_bf16_products<0, 4, 6>();
        Tiles::template add_bf16_products<1, 4, 7>();
        if constexpr (kHalves == 2) {
          Tiles::template add_bf16_products<2, 5, 6>();
          Tiles::template add_bf16_products<3, 5, 7>();
        }
      }
    }
    store_sums<0>(y, y_bytes);
    if constexpr (kHalves == 2) store_sums<2>(below, y_bytes);
  }

  template <int kTile>
  static void zero_sums() {
    Tiles::template zero<kTile>();
    Tiles::template zero<kTile + 1>();
  }
  template <int kTile>
  static void load_sums(const float* y, std::size_t y_bytes) {
    Tiles::template load<kTile>(y, y_bytes);
    Tiles::template load<kTile + 1>(y + kTileCols, y_bytes);
  }
  template <int kTile>
  static void store_sums(float* y, std::size_t y_bytes) {
    Tiles::template store<kTile>(y, y_bytes);
    Tiles::template store<kTile + 1>(y + kTileCols, y_bytes);
  }

  /// Few rows use weights once, at the speed of memory, and ask for them as far ahead as the
  /// kernels for one row do.
  static constexpr std::size_t kBlocksAhead = 8192 / sizeof(Bf16Block);
  static void prefetch(const Bf16Block* block) {
    for (std::size_t i = 0; i < sizeof(Bf16Block); i += 64) {
      __builtin_prefetch(reinterpret_cast<const std::byte*>(block) + i);
    }
  }

  TermRows<kTerms> x_;
  const Bf16Block* panels_;
  std::size_t panel_stride_;
  Start start_;
};

/// Weights of few bits: 16 rows of activations by the 32 columns of a panel. A block of inputs has
/// scales of its own, so its sums leave the tiles and are added to y by vector code.
///   0 .. 3   sums: tile 2 l + v has products with high (l = 0) or low bytes, in half v of the
///            columns
///   4, 5     activations: high bytes, low bytes
///   6, 7     weights of a half of the columns
template <class Tiles, class Block>
class AmxByteKernel {
 public:
  AmxByteKernel(const ByteRows& x, const Block* panels, std::size_t panel_stride, Start start)
      : x_(x), panels_(panels), panel_stride_(panel_stride), start_(start) {}

  /// All of y.
  void operator()(base::MatView<float> y) const {
    Tiles::configure(kConfig);
    std::array<ByteWeights, kUnpacked> weights;
    for (std::size_t col = 0; col < y.cols(); col += kPanelCols) {
      const Block* const panel = panels_ + col / kPanelCols * panel_stride_;
      const auto y_cols = y.cols(col, std::min(kPanelCols, y.cols() - col));
      for (std::size_t first = 0; first < x_.cols(); first += kUnpacked) {
        const std::size_t count = std::min(kUnpacked, x_.cols() - first);
        for (std::size_t b = 0; b < count; ++b) unpack(panel[first + b], weights[b]);
        for (std::size_t row = 0; row < y.rows(); row += ByteBlock::kRows) {
          add_blocks(x_.row(row / ByteBlock::kRows).subspan(first, count), weights.data(),
                     y_cols.rows(row, std::min(ByteBlock::kRows, y.rows() - row)),
                     first == 0 ? start_ : Start::kContinue);
        }
      }
    }
    Tiles::release();
  }

 private:
  /// Blocks of weights that are unpacked for all rows: they stay in the first cache.
  static constexpr std::size_t kUnpacked = 16;

  /// Rows that a group lacks are multiplied, too, whatever they hold; nobody reads their sums.
  static constexpr TileConfig kConfig = [] {
    TileConfig config;
    const auto shape = [&config](std::size_t tile, std::size_t rows, std::size_t row_bytes) {
      config.rows[tile] = static_cast<std::uint8_t>(rows);
      config.row_bytes[tile] = static_cast<std::uint16_t>(row_bytes);
    };
    for (const std::size_t tile : {0U, 1U, 2U, 3U}) shape(tile, ByteBlock::kRows, kTileRowBytes);
    for (const std::size_t tile : {4U, 5U}) shape(tile, ByteBlock::kRows, kScaleBlock);
    for (const std::size_t tile : {6U, 7U}) shape(tile, kScaleBlock / 4, kTileRowBytes);
    return config;
  }();

  /// Adds the products of a group of rows with some blocks, in order. y may have fewer columns than
  /// a panel: sums of all of them are kept in a place of their own.
  static void add_blocks(std::span<const ByteBlock> x, const ByteWeights* weights,
                         base::MatView<float> y, Start start) {
    ByteOutputs outputs{};
    const std::size_t row_bytes = y.cols() * sizeof(float);
    if (start == Start::kContinue) {
      for (std::size_t r = 0; r < y.rows(); ++r) {
        std::memcpy(outputs.y[r].data(), y.row(r).data(), row_bytes);
      }
    }
    std::array<ByteSums, 2> sums;
    for (std::size_t b = 0; b <= x.size(); ++b) {
      // Tiles multiply a block while vectors add the sums of the one before.
      if (b < x.size()) multiply(x[b], weights[b], sums[b % 2]);
      if (b > 0) add_sums(sums[(b - 1) % 2], x[b - 1], weights[b - 1], y.rows(), outputs);
    }
    for (std::size_t r = 0; r < y.rows(); ++r) {
      std::memcpy(y.row(r).data(), outputs.y[r].data(), row_bytes);
    }
  }

  static void multiply(const ByteBlock& x, const ByteWeights& weights, ByteSums& sums) {
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    Tiles::template zero<2>();
    Tiles::template zero<3>();
    Tiles::template load<6>(&weights.codes[0][0], sizeof(weights.codes[0]));
    Tiles::template load<7>(&weights.codes[0][kTileCols], sizeof(weights.codes[0]));
    Tiles::template load<4>(x.high.data(), sizeof(x.high[0]));
    Tiles::template add_signed_products<0, 4, 6>();
    Tiles::template add_signed_products<1, 4, 7>();
    Tiles::template load<5>(x.low.data(), sizeof(x.low[0]));
    Tiles::template add_unsigned_products<2, 5, 6>();
    Tiles::template add_unsigned_products<3, 5, 7>();
    Tiles::template store<0>(&sums.high[0][0], sizeof(sums.high[0]));
    Tiles::template store<1>(&sums.high[0][kTileCols], sizeof(sums.high[0]));
    Tiles::template store<2>(&sums.low[0][0], sizeof(sums.low[0]));
    Tiles::template store<3>(&sums.low[0][kTileCols], sizeof(sums.low[0]));
  }

  ByteRows x_;
  const Block* panels_;
  std::size_t panel_stride_;
  Start start_;
};

}  // namespace longreach::kernels
