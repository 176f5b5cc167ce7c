#include "kernels/matmul/packed_matrix.hpp"

#include "kernels/simd/isa.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>

namespace longreach::kernels {
namespace {

/// What is smaller stays in the inner caches, or next to it.
constexpr std::size_t kLargeBytes = std::size_t{64} << 10;

base::Pages pages_for(std::size_t bytes) {
  return bytes >= kLargeBytes ? base::Pages::kLarge : base::Pages::kSmall;
}

template <typename Bits>
Bits read(const std::byte* from) {
  Bits bits;
  std::memcpy(&bits, from, sizeof(bits));
  return bits;
}

float read_f32(const std::byte* from) { return read<float>(from); }
float read_bf16(const std::byte* from) {
  return base::to_float(base::Bf16{read<std::uint16_t>(from)});
}
float read_f16(const std::byte* from) { return base::half_to_float(read<std::uint16_t>(from)); }

/// Inputs first_k .. of the columns of a panel; what lies outside the matrix stays as it is.
template <float (*kRead)(const std::byte*)>
void read_block(const StridedMatrix& source, std::size_t first_col, std::size_t first_k,
                BlockWeights& weights) {
  const std::size_t n_cols = std::min(kPanelCols, source.n_out - first_col);
  const std::size_t n_k = std::min(kScaleBlock, source.n_in - first_k);
  const std::size_t width = size_of(source.dtype);
  for (std::size_t col = 0; col < n_cols; ++col) {
    const std::byte* from =
        source.data + ((first_col + col) * source.out_stride + first_k * source.in_stride) * width;
    for (std::size_t k = 0; k < n_k; ++k) {
      weights[k][col] = kRead(from + k * source.in_stride * width);
    }
  }
}

void read_block(const StridedMatrix& source, std::size_t first_col, std::size_t first_k,
                BlockWeights& weights) {
  switch (source.dtype) {
    case base::DType::kF32:
      return read_block<read_f32>(source, first_col, first_k, weights);
    case base::DType::kBf16:
      return read_block<read_bf16>(source, first_col, first_k, weights);
    case base::DType::kF16:
      return read_block<read_f16>(source, first_col, first_k, weights);
  }
}

/// Writes a block in which weights beyond the last input are zero. Vectors add the product with the
/// second number of a pair first, so theirs is the first input.
void write_pairs(const BlockWeights& weights, Bf16Block& block) {
  const std::size_t first = uses_amx() ? 0 : 1;
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t col = 0; col < kPanelCols; ++col) {
      block.weights[k / 2][col][(k + first) % 2] = base::to_bf16(weights[k][col]);
    }
  }
}

void convert(float weight, float& to) { to = weight; }
void convert(float weight, base::Bf16& to) { to = base::to_bf16(weight); }
float widened(float weight) { return weight; }
float widened(base::Bf16 weight) { return base::to_float(weight); }

/// Writes n_k steps of a panel that lie `k_stride` apart; returns whether all weights are finite.
template <typename T>
bool write_steps(const BlockWeights& weights, std::size_t n_k, std::size_t k_stride, T* to) {
  std::array<float, kPanelCols> poison{};  // stays 0 for finite numbers, else becomes NaN
  for (std::size_t k = 0; k < n_k; ++k) {
    for (std::size_t col = 0; col < kPanelCols; ++col) {
      T& weight = to[k * k_stride + col];
      convert(weights[k][col], weight);
      poison[col] += widened(weight) * 0;
    }
  }
  return std::ranges::none_of(poison, [](float p) { return std::isnan(p); });
}

void write_block(const BlockWeights& weights, base::WeightFormat format, std::byte* to) {
  switch (format) {
    case base::WeightFormat::kBf16:
      return write_pairs(weights, *reinterpret_cast<Bf16Block*>(to));
    case base::WeightFormat::kInt8:
      return quantize(weights, *reinterpret_cast<Int8Block*>(to));
    case base::WeightFormat::kInt4:
      return quantize(weights, *reinterpret_cast<Int4Block*>(to));
    case base::WeightFormat::kF32:
      break;  // has no blocks
  }
}

}  // namespace

float StridedMatrix::at(std::size_t o, std::size_t i) const {
  const std::byte* from = data + (o * out_stride + i * in_stride) * size_of(dtype);
  switch (dtype) {
    case base::DType::kF32:
      return read_f32(from);
    case base::DType::kBf16:
      return read_bf16(from);
    case base::DType::kF16:
      return read_f16(from);
  }
  return 0;
}

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
    : n_out_(source.n_out),
      n_in_(source.n_in),
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
  pool.for_each(panel_count(n_out_), [&](std::size_t panel, std::size_t) {
    const std::size_t place_in_pair = panel % kPairedPanels, first_of_pair = panel - place_in_pair;
    BlockWeights weights{};  // columns beyond the last one stay zero
    const std::size_t block_bytes = base::column_bytes(format, kScaleBlock) * kPanelCols;
    for (std::size_t k = 0; k < n_in_; k += kScaleBlock) {
      const std::size_t n_k = std::min(kScaleBlock, n_in_ - k);
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(n_k), weights.end(),
                decltype(weights)::value_type{});
      read_block(source, panel * kPanelCols, k, weights);
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
