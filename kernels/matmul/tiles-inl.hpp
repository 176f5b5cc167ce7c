// How a product is cut into tiles of outputs that fit the registers, per instruction-set path; see
// simd-inl.hpp. A kernel computes one tile; it offers
//
//   kTileRows, kTilePanels    the size of a whole tile
//   tile<kRows, kPanels>(row, panel, y, y_stride)
//
// the last of which computes rows row .. row + kRows - 1 of columns 0 .. 32 kPanels - 1 of y, from
// panel number `panel` on.
#if defined(LONGREACH_KERNELS_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGREACH_KERNELS_TILES_INL
#undef LONGREACH_KERNELS_TILES_INL
#else
#define LONGREACH_KERNELS_TILES_INL
#endif

#include "kernels/base/view.hpp"
#include "kernels/matmul/matrix.hpp"

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

/// Asks for what one row needs some time after step k of the tile at `data`, of kPanels panels of
/// n_k steps.
template <std::size_t kPanels, typename T>
HWY_INLINE void prefetch_steps(const Panels<T>& panels, std::size_t n_k, const T* data,
                               std::size_t k) {
  constexpr std::size_t kAhead = kBytesAhead / sizeof(T);
  const std::size_t n_tile = kPanels * n_k * kPanelCols;
  if (panels.panel_stride == n_k * kPanelCols && n_tile <= 2 * kAhead) {
    // Short panels, one after the other: asked for in the order they lie in, memory is fastest.
    prefetch(data + std::max(kAhead, n_tile) + kPanels * k * kPanelCols,
             kPanels * kPanelCols * sizeof(T));
    return;
  }
  // Of longer ones that follow one another, the next ones begin when these end.
  constexpr std::size_t kStepsAhead = kAhead / kPanels / kPanelCols;
  const bool follow = panels.panel_stride > kPanelCols;  // and do not alternate
  const std::size_t skipped =
      follow && k + kStepsAhead >= n_k ? (kPanels - 1) * panels.panel_stride : 0;
  for (std::size_t p = 0; p < kPanels; ++p) {
    prefetch(data + p * panels.panel_stride + (k + kStepsAhead) * panels.k_stride + skipped,
             kPanelCols * sizeof(T));
  }
}

/// Sets the sums of a tile to zero, or to what y has of them.
template <std::size_t kRows, std::size_t kVecs>
HWY_INLINE void load_sums(Start start, const float* HWY_RESTRICT y, std::size_t y_stride,
                          hn::Vec<Wide> (&sum)[kRows][kVecs]) {
  const Wide d;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVecs; ++v) {
      sum[r][v] = start == Start::kZero ? hn::Zero(d) : hn::LoadU(d, y + r * y_stride + v * kLanes);
    }
  }
}

/// Writes the sums of a tile. Zeros are written without a sign: a sum that underflows to -0 would
/// keep it where inputs that are zero are skipped, and lose it where they are multiplied.
template <std::size_t kRows, std::size_t kVecs>
HWY_INLINE void store_sums(const hn::Vec<Wide> (&sum)[kRows][kVecs], float* HWY_RESTRICT y,
                           std::size_t y_stride) {
  const Wide d;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVecs; ++v) {
      hn::StoreU(hn::Add(sum[r][v], hn::Zero(d)), d, y + r * y_stride + v * kLanes);
    }
  }
}

/// n_rows <= kRows rows, fewer than a tile has.
template <std::size_t kRows, std::size_t kPanels, class Kernel>
HWY_INLINE void rest_of_rows(const Kernel& kernel, std::size_t n_rows, std::size_t row,
                             std::size_t panel, float* y, std::size_t y_stride) {
  if constexpr (kRows > 0) {
    if (n_rows == kRows) {
      kernel.template tile<kRows, kPanels>(row, panel, y, y_stride);
    } else {
      rest_of_rows<kRows - 1, kPanels>(kernel, n_rows, row, panel, y, y_stride);
    }
  }
}

/// Rows first .. end - 1 against kPanels whole panels; y belongs to row `first`. Not inline, as the
/// tiles of all sizes within take compilers long.
template <std::size_t kPanels, class Kernel>
HWY_NOINLINE void for_rows(const Kernel& kernel, std::size_t first, std::size_t end,
                           std::size_t panel, float* y, std::size_t y_stride) {
  constexpr std::size_t kTileRows = Kernel::kTileRows;
  std::size_t row = first;
  for (; row + kTileRows <= end; row += kTileRows, y += kTileRows * y_stride) {
    kernel.template tile<kTileRows, kPanels>(row, panel, y, y_stride);
  }
  rest_of_rows<kTileRows - 1, kPanels>(kernel, end - row, row, panel, y, y_stride);
}

/// The last, partly used panel: through a scratch of full width, a tile of rows at a time.
template <class Kernel>
HWY_INLINE void for_ragged_panel(const Kernel& kernel, std::size_t panel, base::MatView<float> y,
                                 Start start) {
  constexpr std::size_t kTileRows = Kernel::kTileRows;
  HWY_ALIGN float scratch[kTileRows * kPanelCols];
  const std::size_t row_bytes = y.cols() * sizeof(float);
  for (std::size_t row = 0; row < y.rows(); row += kTileRows) {
    const std::size_t n_rows = std::min(kTileRows, y.rows() - row);
    if (start == Start::kContinue) {
      for (std::size_t i = 0; i < n_rows; ++i) {
        std::memcpy(scratch + i * kPanelCols, y.row(row + i).data(), row_bytes);
      }
    }
    for_rows<1>(kernel, row, row + n_rows, panel, scratch, kPanelCols);
    for (std::size_t i = 0; i < n_rows; ++i) {
      std::memcpy(y.row(row + i).data(), scratch + i * kPanelCols, row_bytes);
    }
  }
}

/// All of y.
template <class Kernel>
HWY_INLINE void for_tiles(const Kernel& kernel, base::MatView<float> y, Start start) {
  const std::size_t n_whole = y.cols() / kPanelCols;
  std::size_t panel = 0;
  for (; panel + Kernel::kTilePanels <= n_whole; panel += Kernel::kTilePanels) {
    for_rows<Kernel::kTilePanels>(kernel, 0, y.rows(), panel, y.data() + panel * kPanelCols,
                                  y.stride());
  }
  for (; panel < n_whole; ++panel) {
    for_rows<1>(kernel, 0, y.rows(), panel, y.data() + panel * kPanelCols, y.stride());
  }
  if (const std::size_t rest = y.cols() % kPanelCols; rest != 0) {
    for_ragged_panel(kernel, panel, y.cols(panel * kPanelCols, rest), start);
  }
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
