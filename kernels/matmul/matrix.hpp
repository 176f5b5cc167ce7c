/// Matrix products whose every output is one sum in a fixed order: the same bits for a row whatever
/// the number of rows beside it, the threads, or the columns another rank computes.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/matmul/packed_matrix.hpp"
#include "kernels/threads/parallel.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace longreach::kernels {

/// Whether a product starts its sums at zero or continues those in y.
enum class Start { kZero, kContinue };

/// y[r][c] = sum over k < x.cols() of x[r][k] * panel[k][c], k ascending, one fused multiply-add a
/// step (plain multiply and add on paths without them). Shapes:   x [rows, K], panels with K steps,
/// y [rows, n]: all n columns are written, from ceil(n / 32) panels
///           that must be readable to their full width.
/// Numerics: f32; |error| <= K eps sum |x||w|.      Threads: single-threaded, re-entrant.
/// Allocates: no
void panel_product(base::MatView<const float> x, const Panels<float>& panels,
                   base::MatView<float> y, Start start) noexcept;
void panel_product(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                   base::MatView<float> y, Start start) noexcept;
void panel_product(base::MatView<const float> x, const Panels<std::int8_t>& panels,
                   base::MatView<float> y, Start start) noexcept;

/// y = x W^T. Shapes: x [rows, n_in], w (n_out, n_in), y [rows, n_out]; x and y disjoint.
struct Product {
  base::MatView<const float> x;
  const PackedMatrix* w;
  base::MatView<float> y;
};

/// Computes products that do not need each other's outputs, split over the pool by columns, as one
/// job: threads wait for each other once for all of them. Orders of sums and errors:
/// weight-formats.md, "Products". Allocates: a line for each product; the pool's scratch, when it
/// has to grow; ends the program if there is no memory for it.
void multiply_all(ThreadPool& pool, std::span<const Product> products) noexcept;

/// One of them.
void multiply(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
              base::MatView<float> y) noexcept;

/// The same, bit for bit, without reading weights whose inputs are zero in all rows, where that is
/// faster: few rows, mostly zeros, and a matrix packed for it (PackedMatrix::may_skip_zeros).
void multiply_nonzero(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                      base::MatView<float> y) noexcept;

}  // namespace longreach::kernels
