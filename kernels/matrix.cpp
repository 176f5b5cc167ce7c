#include "kernels/matrix.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matrix.cpp"
#include "kernels/amx_product.hpp"
#include "kernels/block_product.hpp"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/simd-inl.hpp"
#include "kernels/tiles-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

constexpr std::size_t kVecsPerPanel = kPanelCols / kLanes;

template <typename T>
class PanelKernel {
 public:
  // As many sums as the registers of a path hold.
  static constexpr std::size_t kTileRows = kLanes == 16 ? 6 : kLanes == 8 ? 3 : 1;
  static constexpr std::size_t kTilePanels = kLanes == 16 ? 2 : 1;

  PanelKernel(base::MatView<const float> x, const Panels<T>& panels, Start start)
      : x_(x), panels_(panels), start_(start) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    constexpr std::size_t kVecs = kPanels * kVecsPerPanel;
    const Wide d;
    const float* HWY_RESTRICT x = x_.data() + row * x_.stride();
    const T* HWY_RESTRICT data = panels_.data + panel * panels_.panel_stride;
    const std::size_t x_stride = x_.stride(), panel_stride = panels_.panel_stride;
    hn::Vec<Wide> sum[kRows][kVecs];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVecs; ++v) {
        sum[r][v] =
            start_ == Start::kZero ? hn::Zero(d) : hn::LoadU(d, y + r * y_stride + v * kLanes);
      }
    }
    const std::size_t n_k = x_.cols(), k_stride = panels_.k_stride;
    for (std::size_t k = 0; k < n_k; ++k) {
      if constexpr (kRows == 1) {
        // Of panels that lie behind one another, the next ones follow when these end.
        constexpr std::size_t kAhead = kBytesAhead / kPanels / (kPanelCols * sizeof(T));
        const std::size_t skipped = k + kAhead < n_k ? 0 : (kPanels - 1) * panel_stride;
        for (std::size_t p = 0; p < kPanels; ++p) {
          prefetch(data + p * panel_stride + (k + kAhead) * k_stride + skipped,
                   kPanelCols * sizeof(T));
        }
      }
      hn::Vec<Wide> w[kVecs];
      for (std::size_t v = 0; v < kVecs; ++v) {
        w[v] = load(d, data + (v / kVecsPerPanel) * panel_stride + k * k_stride +
                           (v % kVecsPerPanel) * kLanes);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto x_k = hn::Set(d, x[r * x_stride + k]);
        for (std::size_t v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(x_k, w[v], sum[r][v]);
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVecs; ++v) {
        hn::StoreU(sum[r][v], d, y + r * y_stride + v * kLanes);
      }
    }
  }

 private:
  base::MatView<const float> x_;
  Panels<T> panels_;
  Start start_;
};

void panel_product_f32(base::MatView<const float> x, const Panels<float>& panels,
                       base::MatView<float> y, Start start) {
  for_tiles(PanelKernel<float>(x, panels, start), y, start);
}

void panel_product_bf16(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                        base::MatView<float> y, Start start) {
  for_tiles(PanelKernel<base::Bf16>(x, panels, start), y, start);
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

/// Calls body(first column, k, steps of k, columns of y, start) so that all of y is computed.
template <class Body>
void for_parts(ThreadPool& pool, const PackedMatrix& w, base::MatView<float> y, Body&& body) {
  const std::size_t n_tasks = (w.n_out() + kTaskCols - 1) / kTaskCols;
  const std::size_t block_k = y.rows() == 1 ? w.n_in() : kBlockK;  // one row has nothing to reuse
  pool.for_each(n_tasks, [&](std::size_t task, std::size_t) {
    const std::size_t col = task * kTaskCols;
    const auto y_cols = y.cols(col, std::min(kTaskCols, w.n_out() - col));
    for (std::size_t k = 0; k < w.n_in(); k += block_k) {
      body(col / kPanelCols, k, std::min(block_k, w.n_in() - k), y_cols,
           k == 0 ? Start::kZero : Start::kContinue);
    }
  });
}

template <typename T>
void multiply_float(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                    base::MatView<float> y) {
  for_parts(pool, w, y,
            [&](std::size_t panel, std::size_t k, std::size_t n_k, base::MatView<float> y_cols,
                Start start) {
              const Panels<T> panels{w.panel<T>(panel) + k * kPanelCols, w.n_in() * kPanelCols,
                                     kPanelCols};
              panel_product(x.cols(k, n_k), panels, y_cols, start);
            });
}

/// `convert` writes a row of x in the form that weights in blocks are multiplied by.
template <class Block, class XBlock>
void multiply_blocks(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                     base::MatView<float> y,
                     void (*convert)(std::span<const float>, std::size_t,
                                     std::span<XBlock>) noexcept) {
  const std::size_t n_blocks = (w.n_in() + kScaleBlock - 1) / kScaleBlock;
  const std::size_t n_groups = (x.rows() + XBlock::kRows - 1) / XBlock::kRows;
  const base::MatView<XBlock> converted(
      reinterpret_cast<XBlock*>(pool.scratch(n_groups * n_blocks * sizeof(XBlock))), n_groups,
      n_blocks);
  pool.for_each(n_groups, [&](std::size_t group, std::size_t) {
    const std::size_t first = group * XBlock::kRows;
    for (std::size_t r = first; r < std::min(first + XBlock::kRows, x.rows()); ++r) {
      convert(x.row(r), r - first, converted.row(group));
    }
  });
  for_parts(pool, w, y,
            [&](std::size_t panel, std::size_t k, std::size_t n_k, base::MatView<float> y_cols,
                Start start) {
              const std::size_t first = k / kScaleBlock;
              const std::size_t count = (n_k + kScaleBlock - 1) / kScaleBlock;
              block_product(converted.cols(first, count), w.panel<Block>(panel) + first, n_blocks,
                            y_cols, start);
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
  switch (w.format()) {
    case base::WeightFormat::kF32:
      return multiply_float<float>(pool, x, w, y);
    case base::WeightFormat::kBf16:
      return w.has_bf16_blocks() ? multiply_blocks<Bf16Block>(pool, x, w, y, to_terms)
                                 : multiply_float<base::Bf16>(pool, x, w, y);
    case base::WeightFormat::kInt8:
      return multiply_blocks<Int8Block>(pool, x, w, y, to_fixed);
    case base::WeightFormat::kInt4:
      return multiply_blocks<Int4Block>(pool, x, w, y, to_fixed);
  }
}

}  // namespace longreach::kernels
#endif
