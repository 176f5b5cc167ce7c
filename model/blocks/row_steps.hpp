/// Element-wise work on all rows of a step, spread over the threads: what several blocks do between
/// matrix products.
#pragma once

#include "kernels/base/view.hpp"
#include "kernels/rows/rows.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/step.hpp"
#include "model/weights.hpp"

#include <algorithm>
#include <cstddef>
#include <span>

namespace longreach::model {

/// y[t] = layer_norm(x[t]) with eps 1e-5. Shapes: [T, C].
inline void norm_rows(kernels::ThreadPool& pool, base::MatView<const float> x, const Norm& norm,
                      base::MatView<float> y) {
  pool.for_each(x.rows(), [&](std::size_t t, std::size_t) {
    kernels::layer_norm(x.row(t), norm.weight, norm.bias, 1e-5F, y.row(t));
  });
}

/// y[t] = token_shift(x[t], the row before in its sequence): of a segment's first row that is what
/// before(segment) gives. Shapes: x, y [T, C]; before, mix (C).
template <typename Before>
void shift_rows(kernels::ThreadPool& pool, const Step& step, base::MatView<const float> x,
                Before&& before, std::span<const float> mix, base::MatView<float> y) {
  pool.for_each(x.rows(), [&](std::size_t t, std::size_t) {
    const std::size_t segment = step.segment_of(t);
    const std::span<const float> row_before =
        t == step.first_row(segment) ? std::span<const float>(before(segment)) : x.row(t - 1);
    kernels::token_shift(x.row(t), row_before, mix, y.row(t));
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

/// Keeps each segment's last row of x in before(segment), for the sequence's next token.
template <typename Before>
void remember_last_rows(const Step& step, base::MatView<const float> x, Before&& before) {
  for (std::size_t s = 0; s < step.segments().size(); ++s) {
    const auto last = x.row(step.first_row(s) + step.segments()[s].n_rows - 1);
    std::ranges::copy(last, before(s).begin());
  }
}

}  // namespace longreach::model
