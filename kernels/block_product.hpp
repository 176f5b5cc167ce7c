/// Products with weights of few bits. Activations become 16-bit integers with a scale for each
/// block of inputs, so that what is summed within a block is whole numbers, in which no order of
/// additions can be seen; blocks are added in order, in f32.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matrix.hpp"
#include "kernels/weight_blocks.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace longreach::kernels {

/// Rows of activations: scale * code, one scale for kScaleBlock inputs, codes -32767 .. 32767.
struct FixedRows {
  base::MatView<const std::int16_t> codes;  ///< [rows, n_blocks * kScaleBlock]
  base::MatView<const float> scales;        ///< [rows, n_blocks]

  /// `count` blocks of inputs from `first` on.
  FixedRows blocks(std::size_t first, std::size_t count) const {
    return {codes.cols(first * kScaleBlock, count * kScaleBlock), scales.cols(first, count)};
  }
};

/// Each number as the nearest scale * code, scale = the block's largest magnitude / 32767; inputs
/// beyond the row are 0. |error| <= scale / 2 + rounding. A block that holds a number that is not
/// finite becomes NaN.
/// Shapes:   codes whole blocks, at least x.size(); scales one a block.
/// Threads:  single-threaded, re-entrant.          Allocates: no
void to_fixed(std::span<const float> x, std::span<std::int16_t> codes,
              std::span<float> scales) noexcept;

/// y[r][c] = sum over blocks b ascending of float(sum over k in b of x code * w code) * (x scale *
/// w scale), one fused multiply-add a block (plain multiply and add on paths without them).
/// Shapes:   as panel_product; panels[p] begins at data + p * panel_stride.
/// Numerics: the inner sum is exact.       Threads: single-threaded, re-entrant.      Allocates: no
void block_product(const FixedRows& x, const Int8Block* data, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;
void block_product(const FixedRows& x, const Int4Block* data, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;

}  // namespace longreach::kernels
