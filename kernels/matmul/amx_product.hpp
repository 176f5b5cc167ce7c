/// Products by AMX: instructions of some x86 CPUs that multiply tiles, matrices of 16 rows of 64
/// bytes. They take bf16 or bytes only, so an activation is given as a sum of two bf16, or as a
/// code of two bytes.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/bf16_terms.hpp"
#include "kernels/matmul/byte_blocks.hpp"
#include "kernels/matmul/matrix.hpp"
#include "kernels/matmul/weight_blocks.hpp"

#include <cstddef>

namespace longreach::kernels {

/// Whether the CPU has these instructions, for bf16 and for bytes, and the system lets this process
/// use them, which it is asked once. Thread-safe.
bool amx_available();

/// y[r][c] = sum over blocks b ascending of first terms x weights, then of second terms, if there
/// are any, x weights.
/// Within a block, the products with even inputs are one sum by fused multiply-adds in ascending
/// order and those with odd inputs another; both are added, then added to y. All in f32, numbers
/// below 2^-126 counting as zero. Source: Intel's description of TDPBF16PS.
/// Shapes:   y [rows, n]: all n columns are written, from ceil(n / 32) panels of x.cols() blocks;
///           panel p begins at panels + p * panel_stride; x has the rows of y.
/// Numerics: for two terms, |error| <= 2^-17 sum |x||w| + (17 + 2 blocks) 2^-24 sum |x||w|, but for
/// tiny numbers. Requires: amx_available().      Threads: single-threaded, re-entrant. Allocates:
/// no
void block_product(const TermRows<1>& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;
void block_product(const TermRows<2>& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;

/// y[r][c] = sum over blocks b ascending of float(sum over k in b of x code * w code) * (x scale *
/// w scale), one fused multiply-add a block: the bits of the block_product() of block_product.hpp.
/// Source: Intel's description of TDPBSSD and TDPBUSD.
/// Shapes:   y [rows, n]: all n columns are written, from ceil(n / 32) panels of x.cols() blocks;
///           panel p begins at panels + p * panel_stride; x has the rows of y.
/// Numerics: the inner sum is exact.
/// Requires: amx_available().      Threads: single-threaded, re-entrant.        Allocates: no
void block_product(const ByteRows& x, const Int8Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;
void block_product(const ByteRows& x, const Int4Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept;

}  // namespace longreach::kernels
