#include "kernels/matmul/matrix.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/matrix.cpp"
#include "kernels/matmul/amx_product.hpp"
#include "kernels/matmul/block_product.hpp"
#include "kernels/matmul/rounded_product.hpp"
#include "kernels/simd/isa.hpp"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <numeric>

#include "kernels/matmul/tiles-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

constexpr std::size_t kVecsPerPanel = kPanelCols / kLanes;

/// Adds a step to the sums of a tile: `x` is its input of the first row, `weights` are those of the
/// first panel.
template <std::size_t kRows, std::size_t kVecs, typename T>
HWY_INLINE void add_step(const float* HWY_RESTRICT x, std::size_t x_stride,
                         const T* HWY_RESTRICT weights, std::size_t panel_stride,
                         hn::Vec<Wide> (&sum)[kRows][kVecs]) {
  const Wide d;
  hn::Vec<Wide> w[kVecs];
  for (std::size_t v = 0; v < kVecs; ++v) {
    w[v] = load(d, weights + (v / kVecsPerPanel) * panel_stride + (v % kVecsPerPanel) * kLanes);
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    const auto x_k = hn::Set(d, x[r * x_stride]);
    for (std::size_t v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(x_k, w[v], sum[r][v]);
  }
}

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
    const float* HWY_RESTRICT x = x_.data() + row * x_.stride();
    const T* HWY_RESTRICT data = panels_.data + panel * panels_.panel_stride;
    const std::size_t x_stride = x_.stride(), panel_stride = panels_.panel_stride;
    hn::Vec<Wide> sum[kRows][kVecs];
    load_sums<kRows, kVecs>(start_, y, y_stride, sum);
    const std::size_t n_k = x_.cols(), k_stride = panels_.k_stride;
    for (std::size_t k = 0; k < n_k; ++k) {
      if constexpr (kRows == 1) prefetch_behind<kPanels>(data, k);
      add_step<kRows, kVecs>(x + k, x_stride, data + k * k_stride, panel_stride, sum);
    }
    store_sums<kRows, kVecs>(sum, y, y_stride);
  }

 private:
  /// Asks for what one row needs some time after step k of the tile at `data`.
  template <std::size_t kPanels>
  HWY_INLINE void prefetch_behind(const T* data, std::size_t k) const {
    constexpr std::size_t kAhead = kBytesAhead / sizeof(T);
    const std::size_t n_k = x_.cols(), n_tile = kPanels * n_k * kPanelCols;
    if (panels_.panel_stride == n_k * kPanelCols && n_tile <= 2 * kAhead) {
      // Short panels behind one another: asked for in the order they lie in, memory is fastest.
      prefetch(data + std::max(kAhead, n_tile) + kPanels * k * kPanelCols,
               kPanels * kPanelCols * sizeof(T));
      return;
    }
    // Of longer ones behind one another, the next ones follow when these end.
    constexpr std::size_t kStepsAhead = kAhead / kPanels / kPanelCols;
    const bool follow = panels_.panel_stride > kPanelCols;  // and do not alternate
    const std::size_t skipped =
        follow && k + kStepsAhead >= n_k ? (kPanels - 1) * panels_.panel_stride : 0;
    for (std::size_t p = 0; p < kPanels; ++p) {
      prefetch(data + p * panels_.panel_stride + (k + kStepsAhead) * panels_.k_stride + skipped,
               kPanelCols * sizeof(T));
    }
  }

  base::MatView<const float> x_;
  Panels<T> panels_;
  Start start_;
};

/// Steps of a product that are computed, in ascending order.
using Steps = std::span<const std::uint32_t>;

/// A product from zero on, of some steps only.
template <typename T>
class StepsKernel {
 public:
  // Few rows and as many columns as there are registers for, so that a step of alternating panels
  // is read at once.
  static constexpr std::size_t kTileRows = kLanes == 16 ? 4 : 1;
  static constexpr std::size_t kTilePanels = kLanes >= 8 ? kPairedPanels : 1;

  StepsKernel(base::MatView<const float> x, Steps steps, const Panels<T>& panels)
      : x_(x), steps_(steps), panels_(panels) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    constexpr std::size_t kVecs = kPanels * kVecsPerPanel;
    // What follows a pair is the next one, of which the same steps will be wanted.
    constexpr std::size_t kStepsAhead = kBytesAhead / (kPairedPanels * kPanelCols * sizeof(T));
    const Wide d;
    const float* HWY_RESTRICT x = x_.data() + row * x_.stride();
    const T* HWY_RESTRICT data = panels_.data + panel * panels_.panel_stride;
    const std::size_t x_stride = x_.stride(), panel_stride = panels_.panel_stride;
    const std::size_t k_stride = panels_.k_stride, n_steps = steps_.size();
    const T* const next_pair = data + x_.cols() * k_stride;
    hn::Vec<Wide> sum[kRows][kVecs];
    for (auto& sums : sum) {
      for (auto& s : sums) s = hn::Zero(d);
    }
    for (std::size_t i = 0; i < n_steps; ++i) {
      const std::size_t ahead = i + kStepsAhead;
      prefetch(ahead < n_steps ? data + steps_[ahead] * k_stride
                               : next_pair + steps_[(ahead - n_steps) % n_steps] * k_stride,
               k_stride * sizeof(T));
      const std::size_t k = steps_[i];
      add_step<kRows, kVecs>(x + k, x_stride, data + k * k_stride, panel_stride, sum);
    }
    store_sums<kRows, kVecs>(sum, y, y_stride);
  }

 private:
  base::MatView<const float> x_;
  Steps steps_;
  Panels<T> panels_;
};

/// Writes the steps at which some row of x is not zero, and returns their number; `steps` has room
/// for a vector more than x has columns.
std::size_t nonzero_steps(base::MatView<const float> x, std::uint32_t* steps) {
  const Wide d;
  const hn::RebindToUnsigned<Wide> words;
  const std::size_t n_whole = x.cols() - x.cols() % kLanes;
  std::size_t count = 0;
  for (std::size_t k = 0; k < n_whole; k += kLanes) {
    auto is_nonzero = hn::Ne(hn::LoadU(d, x.row(0).data() + k), hn::Zero(d));
    for (std::size_t r = 1; r < x.rows(); ++r) {
      is_nonzero = hn::Or(is_nonzero, hn::Ne(hn::LoadU(d, x.row(r).data() + k), hn::Zero(d)));
    }
    count += hn::CompressStore(hn::Iota(words, static_cast<std::uint32_t>(k)),
                               hn::RebindMask(words, is_nonzero), words, steps + count);
  }
  for (std::size_t k = n_whole; k < x.cols(); ++k) {
    bool is_nonzero = false;
    for (std::size_t r = 0; r < x.rows(); ++r) is_nonzero |= x.row(r)[k] != 0;
    steps[count] = static_cast<std::uint32_t>(k);
    count += is_nonzero ? 1 : 0;
  }
  return count;
}

void steps_product_f32(base::MatView<const float> x, Steps steps, const Panels<float>& panels,
                       base::MatView<float> y) {
  for_tiles(StepsKernel<float>(x, steps, panels), y, Start::kZero);
}

void steps_product_bf16(base::MatView<const float> x, Steps steps, const Panels<base::Bf16>& panels,
                        base::MatView<float> y) {
  for_tiles(StepsKernel<base::Bf16>(x, steps, panels), y, Start::kZero);
}

void panel_product_f32(base::MatView<const float> x, const Panels<float>& panels,
                       base::MatView<float> y, Start start) {
  for_tiles(PanelKernel<float>(x, panels, start), y, start);
}

void panel_product_bf16(base::MatView<const float> x, const Panels<base::Bf16>& panels,
                        base::MatView<float> y, Start start) {
  for_tiles(PanelKernel<base::Bf16>(x, panels, start), y, start);
}

void panel_product_int8(base::MatView<const float> x, const Panels<std::int8_t>& panels,
                        base::MatView<float> y, Start start) {
  for_tiles(PanelKernel<std::int8_t>(x, panels, start), y, start);
}

/// Writes n_k steps of a panel that lie `k_stride` apart as consecutive ones.
void widen(const base::Bf16* HWY_RESTRICT from, std::size_t n_k, std::size_t k_stride,
           float* HWY_RESTRICT to) {
  const Wide d;
  for (std::size_t k = 0; k < n_k; ++k, from += k_stride, to += kPanelCols) {
    prefetch(from + kBytesAhead / sizeof(*from), kPanelCols * sizeof(*from));
    for (std::size_t col = 0; col < kPanelCols; col += kLanes) {
      hn::StoreU(load(d, from + col), d, to + col);
    }
  }
}

/// From how many rows on it is worth while to widen weights once for all of them. With short
/// vectors the rows of a tile are few, so weights are widened often in the inner loop.
std::size_t least_widened_rows() { return kLanes < 16 ? 12 : 48; }

/// Rows whose zeros are looked for: those of a tile. More have few zeros in common.
std::size_t most_skipping_rows() { return StepsKernel<float>::kTileRows; }

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

using Steps = std::span<const std::uint32_t>;

HWY_EXPORT(panel_product_f32);
HWY_EXPORT(panel_product_bf16);
HWY_EXPORT(panel_product_int8);
HWY_EXPORT(steps_product_f32);
HWY_EXPORT(steps_product_bf16);
HWY_EXPORT(nonzero_steps);
HWY_EXPORT(widen);
HWY_EXPORT(least_widened_rows);
HWY_EXPORT(most_skipping_rows);

/// Steps of k after which the next block of weights is fetched, so that a block of two panels stays
/// in the second cache for all rows. Sums are carried on through y, which changes no bit.
constexpr std::size_t kBlockK = 1024;

/// Columns that a thread takes at a time, and rows, or a multiple of them, if all of them would
/// leave threads idle.
constexpr std::size_t kTaskCols = 2 * kPanelCols;
constexpr std::size_t kLeastTaskRows = 48;
static_assert(kTaskCols == kPairedPanels * kPanelCols, "a task has whole pairs of panels");
static_assert(kLeastTaskRows % FixedBlock::kRows == 0 && kLeastTaskRows % kTermRows == 0 &&
                  kLeastTaskRows % ByteBlock::kRows == 0 &&
                  kLeastTaskRows % PairBlock::kRows == 0 && kLeastTaskRows % FourBlock::kRows == 0,
              "rows that are converted together are not parted");

/// Part of a product: rows from `first_row` on and columns from those of panel `panel` on, of which
/// steps k .. k + n_k are added to y.
struct Part {
  std::size_t first_row, panel, k, n_k;
  base::MatView<float> y;
  Start start;
};

/// Calls body(part, worker) so that all of y is computed.
template <class Body>
void for_parts(ThreadPool& pool, const PackedMatrix& w, base::MatView<float> y, Body&& body) {
  const std::size_t n_strips = (w.n_out() + kTaskCols - 1) / kTaskCols;
  const std::size_t n_wanted = pool.size() == 1 ? 1 : (4 * pool.size() + n_strips - 1) / n_strips;
  const std::size_t n_least = (y.rows() + kLeastTaskRows - 1) / kLeastTaskRows;
  const std::size_t task_rows =
      std::max<std::size_t>((n_least + n_wanted - 1) / n_wanted * kLeastTaskRows, kLeastTaskRows);
  const std::size_t n_row_tasks = (y.rows() + task_rows - 1) / task_rows;
  const std::size_t block_k = y.rows() == 1 ? w.n_in() : kBlockK;  // one row has nothing to reuse
  pool.for_each(n_strips * n_row_tasks, [&](std::size_t task, std::size_t worker) {
    const std::size_t col = task / n_row_tasks * kTaskCols, row = task % n_row_tasks * task_rows;
    const auto part = y.rows(row, std::min(task_rows, y.rows() - row))
                          .cols(col, std::min(kTaskCols, w.n_out() - col));
    for (std::size_t k = 0; k < w.n_in(); k += block_k) {
      body(Part{row, col / kPanelCols, k, std::min(block_k, w.n_in() - k), part,
                k == 0 ? Start::kZero : Start::kContinue},
           worker);
    }
  });
}

/// Of x what a part multiplies.
base::MatView<const float> inputs_of(const Part& part, base::MatView<const float> x) {
  return x.rows(part.first_row, part.y.rows()).cols(part.k, part.n_k);
}

template <typename T>
void multiply_float(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                    base::MatView<float> y) {
  for_parts(pool, w, y, [&](const Part& part, std::size_t) {
    Panels<T> panels = w.steps<T>(part.panel);
    panels.data += part.k * panels.k_stride;
    panel_product(inputs_of(part, x), panels, part.y, part.start);
  });
}

/// Numbers of weights that a thread widens at a time.
constexpr std::size_t kWidenedSize = kBlockK * kTaskCols;

/// The same for so many rows that widening weights once for all of them is worth it; `scratch` has
/// room for kWidenedSize numbers of each thread.
void multiply_widened(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                      base::MatView<float> y, float* scratch) {
  for_parts(pool, w, y, [&](const Part& part, std::size_t worker) {
    float* const widened = scratch + worker * kWidenedSize;
    const std::size_t panel_size = part.n_k * kPanelCols;
    const Panels<base::Bf16> panels = w.steps<base::Bf16>(part.panel);
    for (std::size_t p = 0; p < panel_count(part.y.cols()); ++p) {
      HWY_DYNAMIC_DISPATCH(widen)
      (panels.data + p * panels.panel_stride + part.k * panels.k_stride, part.n_k, panels.k_stride,
       widened + p * panel_size);
    }
    panel_product(inputs_of(part, x), Panels<float>{widened, panel_size, kPanelCols}, part.y,
                  part.start);
  });
}

/// Numbers that as_multiplied() writes.
std::size_t rounded_size(base::MatView<const float> x, const PackedMatrix& w) {
  return w.activations() == base::Activations::kBf16 ? x.rows() * x.cols() : 0;
}

/// Inputs as steps of w are multiplied by them: x, or x rounded to bf16 in `scratch`.
base::MatView<const float> as_multiplied(ThreadPool& pool, base::MatView<const float> x,
                                         const PackedMatrix& w, float* scratch) {
  if (rounded_size(x, w) == 0) return x;
  const base::MatView<float> rounded(scratch, x.rows(), x.cols());
  pool.for_each(x.rows(), [&](std::size_t row, std::size_t) {
    std::ranges::transform(x.row(row), rounded.row(row).begin(),
                           [](float number) { return base::to_float(base::to_bf16(number)); });
  });
  return rounded;
}

/// Weights in bf16 that are steps.
void multiply_bf16_steps(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                         base::MatView<float> y) {
  const bool widens = x.rows() >= HWY_DYNAMIC_DISPATCH(least_widened_rows)();
  const std::size_t n_widened = widens ? pool.size() * kWidenedSize : 0;
  auto* const scratch =
      reinterpret_cast<float*>(pool.scratch((n_widened + rounded_size(x, w)) * sizeof(float)));
  x = as_multiplied(pool, x, w, scratch + n_widened);
  return widens ? multiply_widened(pool, x, w, y, scratch)
                : multiply_float<base::Bf16>(pool, x, w, y);
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
  for_parts(pool, w, y, [&](const Part& part, std::size_t) {
    const std::size_t group = part.first_row / XBlock::kRows, first = part.k / kScaleBlock;
    const std::size_t count = (part.n_k + kScaleBlock - 1) / kScaleBlock;
    block_product(converted.rows(group, n_groups - group).cols(first, count),
                  w.panel<Block>(part.panel) + first, n_blocks, part.y, part.start);
  });
}

/// Weights in bf16 that are blocks.
void multiply_bf16_blocks(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                          base::MatView<float> y) {
  if (w.activations() == base::Activations::kF32) {
    return multiply_blocks<Bf16Block, TermBlock<2>>(pool, x, w, y, to_terms);
  }
  return uses_amx() ? multiply_blocks<Bf16Block, TermBlock<1>>(pool, x, w, y, to_terms)
                    : multiply_blocks<Bf16Block>(pool, x, w, y, to_pairs);
}

/// Weights of few bits. AMX takes so many rows that its tiles are full. Whatever multiplies codes
/// of activations of one size leaves the same bits.
template <class Block>
void multiply_codes(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                    base::MatView<float> y) {
  const bool is_small = w.activations() == base::Activations::kInt8;
  if (x.rows() >= ByteBlock::kRows && uses_amx()) {
    return multiply_blocks<Block>(pool, x, w, y, is_small ? to_small_bytes : to_bytes);
  }
  if (is_small && uses_vnni()) return multiply_blocks<Block>(pool, x, w, y, to_fours);
  return multiply_blocks<Block>(pool, x, w, y, is_small ? to_small_fixed : to_fixed);
}

/// Whether reading so many of all steps, here and there, is faster than reading all in one run.
bool is_worth_skipping(std::size_t n_steps, std::size_t n_all) { return 5 * n_steps <= 2 * n_all; }

void steps_product(base::MatView<const float> x, Steps steps, const Panels<float>& panels,
                   base::MatView<float> y) {
  HWY_DYNAMIC_DISPATCH(steps_product_f32)(x, steps, panels, y);
}

void steps_product(base::MatView<const float> x, Steps steps, const Panels<base::Bf16>& panels,
                   base::MatView<float> y) {
  HWY_DYNAMIC_DISPATCH(steps_product_bf16)(x, steps, panels, y);
}

template <typename T>
void multiply_steps(ThreadPool& pool, base::MatView<const float> x, Steps steps,
                    const PackedMatrix& w, base::MatView<float> y) {
  const std::size_t n_strips = (w.n_out() + kTaskCols - 1) / kTaskCols;
  pool.for_each(n_strips, [&](std::size_t strip, std::size_t) {
    const std::size_t col = strip * kTaskCols;
    steps_product(x, steps, w.steps<T>(col / kPanelCols),
                  y.cols(col, std::min(kTaskCols, w.n_out() - col)));
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

void panel_product(base::MatView<const float> x, const Panels<std::int8_t>& panels,
                   base::MatView<float> y, Start start) noexcept {
  HWY_DYNAMIC_DISPATCH(panel_product_int8)(x, panels, y, start);
}

void multiply(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
              base::MatView<float> y) noexcept {
  LR_DCHECK(x.cols() == w.n_in() && y.cols() == w.n_out() && x.rows() == y.rows());
  if (w.n_out() == 0) return;  // as in a shard that has no heads
  switch (w.format()) {
    case base::WeightFormat::kF32:
      return multiply_float<float>(pool, x, w, y);
    case base::WeightFormat::kBf16:
      return w.has_bf16_blocks() ? multiply_bf16_blocks(pool, x, w, y)
                                 : multiply_bf16_steps(pool, x, w, y);
    case base::WeightFormat::kInt8:
      return multiply_codes<Int8Block>(pool, x, w, y);
    case base::WeightFormat::kInt4:
      return multiply_codes<Int4Block>(pool, x, w, y);
  }
}

void multiply_nonzero(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                      base::MatView<float> y) noexcept {
  if (!w.may_skip_zeros() || x.rows() > HWY_DYNAMIC_DISPATCH(most_skipping_rows)()) {
    return multiply(pool, x, w, y);
  }
  const std::size_t n_room = w.n_in() + 16;  // lanes
  static_assert(sizeof(std::uint32_t) == sizeof(float));
  auto* const room =
      reinterpret_cast<std::uint32_t*>(pool.scratch((n_room + rounded_size(x, w)) * sizeof(float)));
  x = as_multiplied(pool, x, w, reinterpret_cast<float*>(room + n_room));
  std::size_t n_steps = HWY_DYNAMIC_DISPATCH(nonzero_steps)(x, room);
  if (n_steps == 0 || !is_worth_skipping(n_steps, w.n_in())) {
    n_steps = w.n_in();
    std::iota(room, room + n_steps, 0U);
  }
  const Steps steps(room, n_steps);
  if (w.format() == base::WeightFormat::kF32) {
    multiply_steps<float>(pool, x, steps, w, y);
  } else {
    multiply_steps<base::Bf16>(pool, x, steps, w, y);
  }
}

}  // namespace longreach::kernels
#endif
