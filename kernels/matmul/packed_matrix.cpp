#include "kernels/matmul/packed_matrix.hpp"

#include "kernels/simd/isa.hpp"

#include <algorithm>
#include <atomic>

namespace longreach::kernels {
namespace {

/// What is smaller stays in the inner caches, or next to it.
constexpr std::size_t kLargeBytes = std::size_t{64} << 10;

base::Pages pages_for(std::size_t bytes) {
  return bytes >= kLargeBytes ? base::Pages::kLarge : base::Pages::kSmall;
}

void write_block(const BlockWeights& weights, base::WeightFormat format, std::byte* to) {
  switch (format) {
    case base::WeightFormat::kBf16:
      return write_pairs(weights, uses_amx() ? PairOrder::kFirstBelow : PairOrder::kFirstAbove,
                         *reinterpret_cast<Bf16Block*>(to));
    case base::WeightFormat::kInt8:
      return quantize(weights, *reinterpret_cast<Int8Block*>(to));
    case base::WeightFormat::kInt4:
      return quantize(weights, *reinterpret_cast<Int4Block*>(to));
    case base::WeightFormat::kF32:
      break;  // has no blocks
  }
}

}  // namespace

PanelLayout PanelLayout::in_use(base::ProductFormat product) {
  // Asked whatever the format: a wrong LONGREACH_ISA is an error here, not in a product.
  const bool has_pairs = uses_bf16_pairs() && product.activations == base::Activations::kBf16;
  return {product.weights,
          (uses_amx() || has_pairs) && product.weights == base::WeightFormat::kBf16};
}

bool PanelLayout::serves(base::ProductFormat product) const {
  // Where vectors multiply pairs, they multiply steps, too, with the same sums; blocks are those of
  // AMX.
  if (uses_amx()) return *this == in_use(product);
  return *this == PanelLayout{product.weights, false};
}

PackedMatrix::PackedMatrix(const StridedMatrix& source, base::ProductFormat product,
                           ThreadPool& pool, Inputs inputs)
    : PackedMatrix(
          source.n_out, source.n_in,
          [&source](std::size_t first, std::size_t count, std::size_t) {
            return source.outputs(first, count);
          },
          product, pool, inputs) {}

PackedMatrix::PackedMatrix(std::size_t n_out, std::size_t n_in, const ReadOutputs& read_outputs,
                           base::ProductFormat product, ThreadPool& pool, Inputs inputs)
    : n_out_(n_out),
      n_in_(n_in),
      layout_(PanelLayout::in_use(product)),
      activations_(product.activations) {
  const base::WeightFormat format = product.weights;
  const bool has_steps = !layout_.has_bf16_blocks && (format == base::WeightFormat::kF32 ||
                                                      format == base::WeightFormat::kBf16);
  alternate_ = has_steps && inputs == Inputs::kManyZero;
  const std::size_t panel_bytes = layout_.panel_bytes(n_in_);
  const std::size_t bytes = layout_.matrix_bytes(n_out_, n_in_);
  own_ = base::Buffer<std::byte>(bytes, pages_for(bytes));
  panels_ = own_.span();
  std::atomic<bool> all_finite = true;
  pool.for_each(panel_count(n_out_), [&](std::size_t panel, std::size_t worker) {
    const std::size_t place_in_pair = panel % kPairedPanels, first_of_pair = panel - place_in_pair;
    const std::size_t first_col = panel * kPanelCols;
    const StridedMatrix source =
        read_outputs(first_col, std::min(kPanelCols, n_out_ - first_col), worker);
    BlockWeights weights;
    const std::size_t block_bytes = base::column_bytes(format, kScaleBlock) * kPanelCols;
    for (std::size_t k = 0; k < n_in_; k += kScaleBlock) {
      const std::size_t n_k = std::min(kScaleBlock, n_in_ - k);
      read_block(source, k, weights);
      const auto write_to = [&]<typename T>(const Panels<T>& pair) {
        T* const first = reinterpret_cast<T*>(own_.data() + first_of_pair * panel_bytes);
        T* const step = first + place_in_pair * pair.panel_stride + k * pair.k_stride;
        if (!write_steps(weights, n_k, pair.k_stride, step)) all_finite = false;
      };
      if (!has_steps) {
        write_block(weights, format,
                    own_.data() + panel * panel_bytes + k / kScaleBlock * block_bytes);
      } else if (format == base::WeightFormat::kF32) {
        write_to(steps<float>(first_of_pair));
      } else {
        write_to(steps<base::Bf16>(first_of_pair));
      }
    }
  });
  may_skip_zeros_ = alternate_ && all_finite;
}

PackedMatrix::PackedMatrix(std::span<const std::byte> panels, std::size_t n_out, std::size_t n_in,
                           PanelLayout layout, base::Activations activations)
    : n_out_(n_out), n_in_(n_in), layout_(layout), activations_(activations), panels_(panels) {
  LR_DCHECK(layout.serves({layout.format, activations}));
  LR_DCHECK(panels.size() == layout.matrix_bytes(n_out, n_in));
}

}  // namespace longreach::kernels
