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
#include <array>
#include <bit>
#include <limits>
#include <numeric>
#include <vector>

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
  // More rows gain only where there are vectors of some length.
  static constexpr std::size_t kTileRows = kLanes >= 8 ? 6 : 1;
  static constexpr std::size_t kTilePanels = kLanes == 16 ? 2 : 1;

  PanelKernel(base::MatView<const float> x, const Panels<T>& panels, Start start)
      : x_(x), panels_(panels), start_(start) {}

  template <std::size_t kRows, std::size_t kPanels>
  HWY_INLINE void tile(std::size_t row, std::size_t panel, float* HWY_RESTRICT y,
                       std::size_t y_stride) const {
    // Where a step of all columns has more sums than registers hold, part of its columns is taken
    // for all rows, rather than all of them for some rows: so weights are converted least often.
    constexpr std::size_t kAllVecs = kPanels * kVecsPerPanel;
    constexpr std::size_t kVecs =
        kRows == 1 ? kAllVecs : std::min(kAllVecs, std::bit_floor(kMostSums / kRows));
    const T* HWY_RESTRICT data = panels_.data + panel * panels_.panel_stride;
    for (std::size_t col = 0; col < kPanels * kPanelCols; col += kVecs * kLanes) {
      columns<kRows, kPanels, kVecs>(row, data + col, y + col, y_stride);
    }
  }

 private:
  /// Sums that registers hold beside a step's weights and an input.
  static constexpr std::size_t kMostSums = kLanes == 16 ? 24 : 12;

  /// kVecs vectors of the columns of kPanels panels, from those at `data` on: of all panels, or
  /// part of one.
  template <std::size_t kRows, std::size_t kPanels, std::size_t kVecs>
  HWY_INLINE void columns(std::size_t row, const T* HWY_RESTRICT data, float* HWY_RESTRICT y,
                          std::size_t y_stride) const {
    const float* HWY_RESTRICT x = x_.data() + row * x_.stride();
    const std::size_t x_stride = x_.stride(), panel_stride = panels_.panel_stride;
    hn::Vec<Wide> sum[kRows][kVecs];
    load_sums<kRows, kVecs>(start_, y, y_stride, sum);
    const std::size_t n_k = x_.cols(), k_stride = panels_.k_stride;
    for (std::size_t k = 0; k < n_k; ++k) {
      if constexpr (kRows == 1) prefetch_steps<kPanels>(panels_, n_k, data, k);
      add_step<kRows, kVecs>(x + k, x_stride, data + k * k_stride, panel_stride, sum);
    }
    store_sums<kRows, kVecs>(sum, y, y_stride);
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

/// From how many rows on it is worth while to widen weights once for all of them: measured. With 8
/// lanes it never is, as what widens is idle beside the multiply-adds of a whole tile.
std::size_t least_widened_rows() {
  return kLanes == 16 ? 48 : kLanes == 8 ? std::numeric_limits<std::size_t>::max() : 12;
}

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

/// A product on its way: its inputs in the form they are multiplied in, and room for weights.
struct Work {
  Product product;
  std::byte* converted;  ///< As much as its method asked for.
  float* widened;        ///< kWidenedSize numbers of each thread, if its method widens weights.
};

/// What is converted of a product's inputs: groups of rows, one at a time, into so many bytes.
struct Conversion {
  std::size_t n_groups = 0, n_bytes = 0;  ///< 0: inputs are multiplied as they are.
};

/// A way to multiply.
struct Method {
  Conversion (*conversion)(const Product& product);
  void (*convert)(const Work& work, std::size_t group);
  void (*multiply)(const Work& work, const Part& part, std::size_t worker);
  bool widens;
};

template <class M>
constexpr Method kMethod{M::conversion, M::convert, M::multiply, M::kWidens};

/// Of x what a part multiplies.
base::MatView<const float> inputs_of(const Part& part, base::MatView<const float> x) {
  return x.rows(part.first_row, part.y.rows()).cols(part.k, part.n_k);
}

/// Inputs that are multiplied as floats: as they are, or rounded to bf16 where activations are.
struct FloatInputs {
  static Conversion conversion(const Product& product) {
    if (product.w->activations() != base::Activations::kBf16) return {};
    return {product.x.rows(), product.x.rows() * product.x.cols() * sizeof(float)};
  }
  static void convert(const Work& work, std::size_t row) {
    const base::MatView<const float> x = work.product.x;
    round_to_bf16(x.row(row),
                  {reinterpret_cast<float*>(work.converted) + row * x.cols(), x.cols()});
  }
  static base::MatView<const float> of(const Work& work) {
    const base::MatView<const float> x = work.product.x;
    if (conversion(work.product).n_groups == 0) return x;
    return {reinterpret_cast<const float*>(work.converted), x.rows(), x.cols()};
  }
};

/// Weights that are steps, as they lie.
template <typename T>
struct StepsMethod : FloatInputs {
  static constexpr bool kWidens = false;
  static void multiply(const Work& work, const Part& part, std::size_t) {
    Panels<T> panels = work.product.w->steps<T>(part.panel);
    panels.data += part.k * panels.k_stride;
    panel_product(inputs_of(part, of(work)), panels, part.y, part.start);
  }
};

/// Numbers of weights that a thread widens at a time.
constexpr std::size_t kWidenedSize = kBlockK * kTaskCols;

/// Steps in bf16, for so many rows that widening them once for all rows is worth it.
struct WidenedMethod : FloatInputs {
  static constexpr bool kWidens = true;
  static void multiply(const Work& work, const Part& part, std::size_t worker) {
    float* const widened = work.widened + worker * kWidenedSize;
    const std::size_t panel_size = part.n_k * kPanelCols;
    const Panels<base::Bf16> panels = work.product.w->steps<base::Bf16>(part.panel);
    for (std::size_t p = 0; p < panel_count(part.y.cols()); ++p) {
      HWY_DYNAMIC_DISPATCH(widen)
      (panels.data + p * panels.panel_stride + part.k * panels.k_stride, part.n_k, panels.k_stride,
       widened + p * panel_size);
    }
    panel_product(inputs_of(part, of(work)), Panels<float>{widened, panel_size, kPanelCols}, part.y,
                  part.start);
  }
};

/// Weights in blocks; `kConvert` writes a row of inputs in the form they are multiplied by.
template <class Block, class XBlock,
          void (*kConvert)(std::span<const float>, std::size_t, std::span<XBlock>) noexcept>
struct BlocksMethod {
  static constexpr bool kWidens = false;
  static std::size_t n_blocks(std::size_t n_k) { return (n_k + kScaleBlock - 1) / kScaleBlock; }
  static Conversion conversion(const Product& product) {
    const std::size_t n_groups = (product.x.rows() + XBlock::kRows - 1) / XBlock::kRows;
    return {n_groups, n_groups * n_blocks(product.x.cols()) * sizeof(XBlock)};
  }
  static base::MatView<XBlock> converted(const Work& work) {
    return {reinterpret_cast<XBlock*>(work.converted), conversion(work.product).n_groups,
            n_blocks(work.product.x.cols())};
  }
  static void convert(const Work& work, std::size_t group) {
    const base::MatView<const float> x = work.product.x;
    const std::size_t first = group * XBlock::kRows;
    for (std::size_t r = first; r < std::min(first + XBlock::kRows, x.rows()); ++r) {
      kConvert(x.row(r), r - first, converted(work).row(group));
    }
  }
  static void multiply(const Work& work, const Part& part, std::size_t) {
    const base::MatView<const XBlock> x = converted(work);
    const std::size_t group = part.first_row / XBlock::kRows, first = part.k / kScaleBlock;
    block_product(x.rows(group, x.rows() - group).cols(first, n_blocks(part.n_k)),
                  work.product.w->panel<Block>(part.panel) + first, x.cols(), part.y, part.start);
  }
};

/// Weights in bf16 that are blocks.
const Method& bf16_blocks_method(const PackedMatrix& w) {
  if (w.activations() == base::Activations::kF32) {
    return kMethod<BlocksMethod<Bf16Block, TermBlock<2>, to_terms>>;
  }
  return uses_amx() ? kMethod<BlocksMethod<Bf16Block, TermBlock<1>, to_terms>>
                    : kMethod<BlocksMethod<Bf16Block, PairBlock, to_pairs>>;
}

/// Weights of few bits. AMX takes so many rows that its tiles are full. Whatever multiplies codes
/// of activations of one size leaves the same bits.
template <class Block>
const Method& codes_method(const PackedMatrix& w, std::size_t n_rows) {
  const bool is_small = w.activations() == base::Activations::kInt8;
  if (n_rows >= ByteBlock::kRows && uses_amx()) {
    return is_small ? kMethod<BlocksMethod<Block, ByteBlock, to_small_bytes>>
                    : kMethod<BlocksMethod<Block, ByteBlock, to_bytes>>;
  }
  if (is_small && uses_vnni()) return kMethod<BlocksMethod<Block, FourBlock, to_fours>>;
  return is_small ? kMethod<BlocksMethod<Block, FixedBlock, to_small_fixed>>
                  : kMethod<BlocksMethod<Block, FixedBlock, to_fixed>>;
}

const Method& method_of(const Product& product) {
  const PackedMatrix& w = *product.w;
  const std::size_t n_rows = product.x.rows();
  switch (w.format()) {
    case base::WeightFormat::kBf16:
      if (w.has_bf16_blocks()) return bf16_blocks_method(w);
      return n_rows >= HWY_DYNAMIC_DISPATCH(least_widened_rows)()
                 ? kMethod<WidenedMethod>
                 : kMethod<StepsMethod<base::Bf16>>;
    case base::WeightFormat::kInt8:
      return codes_method<Int8Block>(w, n_rows);
    case base::WeightFormat::kInt4:
      return codes_method<Int4Block>(w, n_rows);
    case base::WeightFormat::kF32:
      break;
  }
  return kMethod<StepsMethod<float>>;
}

std::size_t strip_count(const Product& product) {
  return (product.w->n_out() + kTaskCols - 1) / kTaskCols;
}

/// How a product is divided between threads: strips of columns, and rows where strips are few.
struct Tasks {
  Tasks(const Product& product, std::size_t n_threads) {
    const std::size_t n_rows = product.x.rows(), n_strips = strip_count(product);
    const std::size_t n_wanted = n_threads == 1 ? 1 : (4 * n_threads + n_strips - 1) / n_strips;
    const std::size_t n_least = (n_rows + kLeastTaskRows - 1) / kLeastTaskRows;
    rows =
        std::max<std::size_t>((n_least + n_wanted - 1) / n_wanted * kLeastTaskRows, kLeastTaskRows);
    n_row_tasks = (n_rows + rows - 1) / rows;
    count = n_strips * n_row_tasks;
  }

  std::size_t rows, n_row_tasks, count;
};

/// A product of a job.
struct JobPart {
  Work work;
  const Method* method;
  Tasks tasks;
  Conversion conversion;
  std::size_t converted_by;  ///< The first product of the job that has the same inputs.

  /// The parts of one task, whose sums go on where those of the part before ended.
  void run(std::size_t task, std::size_t worker) const {
    const auto& [x, w, y] = work.product;
    const std::size_t col = task / tasks.n_row_tasks * kTaskCols;
    const std::size_t row = task % tasks.n_row_tasks * tasks.rows;
    const auto part = y.rows(row, std::min(tasks.rows, y.rows() - row))
                          .cols(col, std::min(kTaskCols, w->n_out() - col));
    // One row has nothing to reuse.
    const std::size_t block_k = y.rows() == 1 ? w->n_in() : kBlockK;
    for (std::size_t k = 0; k < w->n_in(); k += block_k) {
      method->multiply(work,
                       Part{row, col / kPanelCols, k, std::min(block_k, w->n_in() - k), part,
                            k == 0 ? Start::kZero : Start::kContinue},
                       worker);
    }
  }
};

constexpr std::size_t cache_lines(std::size_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

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
  pool.for_each(strip_count({x, &w, y}), [&](std::size_t strip, std::size_t) {
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

void multiply_all(ThreadPool& pool, std::span<const Product> products) noexcept {
  std::vector<JobPart> job;
  std::size_t n_bytes = 0, n_groups = 0, n_tasks = 0;
  bool widens = false;
  job.reserve(products.size());
  for (const Product& product : products) {
    const auto& [x, w, y] = product;
    LR_DCHECK(x.cols() == w->n_in() && y.cols() == w->n_out() && x.rows() == y.rows());
    if (w->n_out() == 0) continue;  // as in a shard that has no heads
    const Method& method = method_of(product);
    const auto same_inputs = std::ranges::find_if(job, [&](const JobPart& other) {
      const Product& made = other.work.product;
      return other.method == &method && made.w->activations() == product.w->activations() &&
             made.x.data() == product.x.data() && made.x.rows() == product.x.rows();
    });
    const auto converted_by = static_cast<std::size_t>(same_inputs - job.begin());
    const bool converts = converted_by == job.size();
    const JobPart& part =
        job.emplace_back(JobPart{{product, nullptr, nullptr},
                                 &method,
                                 Tasks(product, pool.size()),
                                 converts ? method.conversion(product) : Conversion{},
                                 converted_by});
    n_bytes += cache_lines(part.conversion.n_bytes);
    n_groups = std::max(n_groups, part.conversion.n_groups);
    n_tasks += part.tasks.count;
    widens = widens || method.widens;
  }
  const std::size_t n_widened = widens ? pool.size() * kWidenedSize : 0;
  std::byte* const scratch = pool.scratch(n_widened * sizeof(float) + n_bytes);
  std::byte* next = scratch + n_widened * sizeof(float);
  for (std::size_t i = 0; i < job.size(); ++i) {
    JobPart& part = job[i];
    part.work.widened = reinterpret_cast<float*>(scratch);
    part.work.converted = part.converted_by == i ? next : job[part.converted_by].work.converted;
    next += cache_lines(part.conversion.n_bytes);
  }
  pool.for_each(n_groups, [&](std::size_t group, std::size_t) {
    for (const JobPart& part : job) {
      if (group < part.conversion.n_groups) part.method->convert(part.work, group);
    }
  });
  pool.for_each(n_tasks, [&](std::size_t task, std::size_t worker) {
    auto part = job.begin();
    for (; task >= part->tasks.count; ++part) task -= part->tasks.count;
    part->run(task, worker);
  });
}

void multiply(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
              base::MatView<float> y) noexcept {
  multiply_all(pool, std::array{Product{x, &w, y}});
}

void multiply_nonzero(ThreadPool& pool, base::MatView<const float> x, const PackedMatrix& w,
                      base::MatView<float> y) noexcept {
  if (!w.may_skip_zeros() || x.rows() > HWY_DYNAMIC_DISPATCH(most_skipping_rows)()) {
    return multiply(pool, x, w, y);
  }
  const std::size_t n_room = cache_lines((w.n_in() + 16) * sizeof(std::uint32_t));  // 16 lanes
  const Conversion conversion = FloatInputs::conversion({x, &w, y});
  std::byte* const scratch = pool.scratch(n_room + conversion.n_bytes);
  const Work work{{x, &w, y}, scratch + n_room, nullptr};
  for (std::size_t row = 0; row < conversion.n_groups; ++row) FloatInputs::convert(work, row);
  x = FloatInputs::of(work);
  auto* const room = reinterpret_cast<std::uint32_t*>(scratch);
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
