#include "kernels/matrix.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matrix.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

constexpr std::size_t kVecsPerPanel = kPanelCols / kLanes;

// The tile of outputs kept in registers: rows x panels, as many as the registers of a path hold.
constexpr std::size_t kTileRows = kLanes == 16 ? 6 : kLanes == 8 ? 3 : 1;
constexpr std::size_t kTilePanels = kLanes == 16 ? 2 : 1;

/// y for kRows rows and kPanels whole panels.
template <std::size_t kRows, std::size_t kPanels, typename T>
HWY_INLINE void tile_product(const float* HWY_RESTRICT x, std::size_t x_stride, std::size_t n_k,
                             const T* HWY_RESTRICT panel, std::size_t panel_stride,
                             std::size_t k_stride, float* HWY_RESTRICT y, std::size_t y_stride,
                             Start start) {
  constexpr std::size_t kVecs = kPanels * kVecsPerPanel;
  const Wide d;
  hn::Vec<Wide> sum[kRows][kVecs];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVecs; ++v) {
      sum[r][v] = start == Start::kZero ? hn::Zero(d) : hn::LoadU(d, y + r * y_stride + v * kLanes);
    }
  }
  for (std::size_t k = 0; k < n_k; ++k) {
    hn::Vec<Wide> w[kVecs];
    for (std::size_t v = 0; v < kVecs; ++v) {
      w[v] = load(d, panel + (v / kVecsPerPanel) * panel_stride + k * k_stride +
                         (v % kVecsPerPanel) * kLanes);
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto x_k = hn::Set(d, x[r * x_stride + k]);
      for (std::size_t v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(x_k, w[v], sum[r][v]);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVecs; ++v) hn::StoreU(sum[r][v], d, y + r * y_stride + v * kLanes);
  }
}

/// At most kRows rows, fewer than a tile has.
template <std::size_t kRows, std::size_t kPanels, typename T>
HWY_INLINE void rest_product(base::MatView<const float> x, const T* panel, std::size_t panel_stride,
                             std::size_t k_stride, float* y, std::size_t y_stride, Start start) {
  if constexpr (kRows > 0) {
    if (x.rows() == kRows) {
      tile_product<kRows, kPanels>(x.data(), x.stride(), x.cols(), panel, panel_stride, k_stride, y,
                                   y_stride, start);
    } else {
      rest_product<kRows - 1, kPanels>(x, panel, panel_stride, k_stride, y, y_stride, start);
    }
  }
}

/// All rows against kPanels whole panels.
template <std::size_t kPanels, typename T>
HWY_INLINE void rows_product(base::MatView<const float> x, const T* panel, std::size_t panel_stride,
                             std::size_t k_stride, float* y, std::size_t y_stride, Start start) {
  std::size_t r = 0;
  for (; r + kTileRows <= x.rows(); r += kTileRows) {
    tile_product<kTileRows, kPanels>(x.data() + r * x.stride(), x.stride(), x.cols(), panel,
                                     panel_stride, k_stride, y + r * y_stride, y_stride, start);
  }
  if (r < x.rows()) {
    rest_product<kTileRows - 1, kPanels>(x.rows(r, x.rows() - r), panel, panel_stride, k_stride,
                                         y + r * y_stride, y_stride, start);
  }
}

/// The last, partly used panel: through a scratch of full width, a tile of rows at a time.
template <typename T>
HWY_INLINE void ragged_product(base::MatView<const float> x, const T* panel, std::size_t k_stride,
                               float* y, std::size_t y_stride, std::size_t n_cols, Start start) {
  HWY_ALIGN float scratch[kTileRows * kPanelCols];
  for (std::size_t r = 0; r < x.rows(); r += kTileRows) {
    const std::size_t n_rows = std::min(kTileRows, x.rows() - r);
    if (start == Start::kContinue) {
      for (std::size_t i = 0; i < n_rows; ++i) {
        std::memcpy(scratch + i * kPanelCols, y + (r + i) * y_stride, n_cols * sizeof(float));
      }
    }
    rows_product<1>(x.rows(r, n_rows), panel, 0, k_stride, scratch, kPanelCols, start);
    for (std::size_t i = 0; i < n_rows; ++i) {
      std::memcpy(y + (r + i) * y_stride, scratch + i * kPanelCols, n_cols * sizeof(float));
    }
  }
}

template <typename T>
HWY_INLINE void panel_product_t(base::MatView<const float> x, const Panels<T>& panels,
                                base::MatView<float> y, Start start) {
  const std::size_t n_whole = y.cols() / kPanelCols;
  std::size_t p = 0;
  for (; p + kTilePanels <= n_whole; p += kTilePanels) {
    rows_product<kTilePanels>(x, panels.data + p * panels.panel_stride, panels.panel_stride,
                              panels.k_stride, y.data() + p * kPanelCols, y.stride(), start);
  }
  for (; p < n_whole; ++p) {
    rows_product<1>(x, panels.data + p * panels.panel_stride, 0, panels.k_stride,
                    y.data() + p * kPanelCols, y.stride(), start);
  }
  if (const std::size_t rest = y.cols() - n_whole * kPanelCols; rest != 0) {
    ragged_product(x, panels.data + p * panels.panel_stride, panels.k_stride,
                   y.data() + p * kPanelCols, y.stride(), rest, start);
  }
}

void panel_product_f32(base::MatView<const float> x, const Panels<float>& panels,
                       base::MatView<float> y, Start start) {
  panel_product_t(x, panels, y, start);
}

void panel_product_bf16(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                        base::MatView<float> y, Start start) {
  panel_product_t(x, panels, y, start);
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(panel_product_f32);
HWY_EXPORT(panel_product_bf16);

/// Steps of k after which the next block of weights is fetched, so that a block of two panels stays
/// in the inner cache for all rows. Sums are carried on through y, which changes no bit.
constexpr std::size_t kBlockK = 256;

/// Columns a thread takes at a time.
constexpr std::size_t kTaskCols = 2 * kPanelCols;

template <typename T>
void multiply_t(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                base::MatView<float> y) {
  const std::size_t n_tasks = (w.n_out() + kTaskCols - 1) / kTaskCols;
  const std::size_t block_k = x.rows() == 1 ? w.n_in() : kBlockK;  // one row has nothing to reuse
  pool.for_each(n_tasks, [&](std::size_t task, std::size_t) {
    const std::size_t col = task * kTaskCols;
    const auto y_cols = y.cols(col, std::min(kTaskCols, w.n_out() - col));
    for (std::size_t k = 0; k < w.n_in(); k += block_k) {
      const std::size_t n_k = std::min(block_k, w.n_in() - k);
      const Panels<T> panels{w.panel<T>(col / kPanelCols) + k * kPanelCols, w.n_in() * kPanelCols,
                             kPanelCols};
      panel_product(x.cols(k, n_k), panels, y_cols, k == 0 ? Start::kZero : Start::kContinue);
    }
  });
}

}  // namespace

void panel_product(base::MatView<const float> x, const Panels<float>& panels,
                   base::MatView<float> y, Start start) noexcept {
  HWY_DYNAMIC_DISPATCH(panel_product_f32)(x, panels, y, start);
}

void panel_product(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                   base::MatView<float> y, Start start) noexcept {
  HWY_DYNAMIC_DISPATCH(panel_product_bf16)(x, panels, y, start);
}

void multiply(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
              base::MatView<float> y) noexcept {
  LR_DCHECK(x.cols() == w.n_in() && y.cols() == w.n_out() && x.rows() == y.rows());
  if (w.dtype() == base::DType::kBf16) {
    multiply_t<base::Bf16>(pool, x, w, y);
  } else {
    multiply_t<float>(pool, x, w, y);
  }
}

}  // namespace longreach::kernels
#endif
