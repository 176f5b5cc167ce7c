/// Row steps of whole slices, spread over the threads: what several blocks do between matrix
/// products.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/rows/rows.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/weights.hpp"

#include <span>

namespace longreach::model {

/// y[t] = layer_norm(x[t]) with eps 1e-5. Shapes: [T, C].
inline void norm_rows(kernels::ThreadPool& pool, base::MatView<const float> x, const Norm& norm,
                      base::MatView<float> y) {
  pool.for_each(x.rows(), [&](std::size_t t, std::size_t) {
    kernels::layer_norm(x.row(t), norm.weight, norm.bias, 1e-5F, y.row(t));
  });
}

/// y[t] = token_shift(x[t], x[t-1]); `before` stands for x[-1]. Shapes: x, y [T, C]; before, mix
/// (C).
inline void shift_rows(kernels::ThreadPool& pool, base::MatView<const float> x,
                       std::span<const float> before, std::span<const float> mix,
                       base::MatView<float> y) {
  pool.for_each(x.rows(), [&](std::size_t t, std::size_t) {
    kernels::token_shift(x.row(t), t == 0 ? before : x.row(t - 1), mix, y.row(t));
  });
}

/// y[t] += x[t].
inline void add_rows(kernels::ThreadPool& pool, base::MatView<const float> x,
                     base::MatView<float> y) {
  pool.for_each(x.rows(), [&](std::size_t t, std::size_t) { kernels::add(x.row(t), y.row(t)); });
}

/// step(row) for every row of x.
template <typename Step>
void for_rows(kernels::ThreadPool& pool, base::MatView<float> x, Step&& step) {
  pool.for_each(x.rows(), [&](std::size_t t, std::size_t) { step(x.row(t)); });
}

/// Keeps the last row of x as the row before the next slice.
inline void remember_last_row(base::MatView<const float> x, std::vector<float>& before) {
  const auto last = x.row(x.rows() - 1);
  before.assign(last.begin(), last.end());
}

}  // namespace longreach::model
