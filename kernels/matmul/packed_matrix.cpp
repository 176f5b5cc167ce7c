#include "kernels/matmul/packed_matrix.hpp"

#include "kernels/simd/isa.hpp"

#include <algorithm>
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

/// Writes a block in which weights beyond the last input are zero.
void write_pairs(const BlockWeights& weights, Bf16Block& block) {
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t col = 0; col < kPanelCols; ++col) {
      block.weights[k / 2][col][k % 2] = base::to_bf16(weights[k][col]);
    }
  }
}

/// Writes n_k steps of a panel, or a block.
void write_block(const BlockWeights& weights, std::size_t n_k, base::WeightFormat format,
                 std::byte* to) {
  switch (format) {
    case base::WeightFormat::kF32:
      std::memcpy(to, weights.data(), n_k * sizeof(weights[0]));
      return;
    case base::WeightFormat::kBf16:
      for (std::size_t k = 0; k < n_k; ++k) {
        for (std::size_t col = 0; col < kPanelCols; ++col) {
          reinterpret_cast<base::Bf16*>(to)[k * kPanelCols + col] = base::to_bf16(weights[k][col]);
        }
      }
      return;
    case base::WeightFormat::kInt8:
      return quantize(weights, *reinterpret_cast<Int8Block*>(to));
    case base::WeightFormat::kInt4:
      return quantize(weights, *reinterpret_cast<Int4Block*>(to));
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

PanelLayout PanelLayout::in_use(base::WeightFormat format) {
  // Asked whatever the format: a wrong LONGREACH_ISA is an error here, not in a product.
  return {format, uses_amx() && format == base::WeightFormat::kBf16};
}

PackedMatrix::PackedMatrix(const StridedMatrix& source, base::WeightFormat format, ThreadPool& pool)
    : n_out_(source.n_out), n_in_(source.n_in), layout_(PanelLayout::in_use(format)) {
  const std::size_t panel_bytes = layout_.panel_bytes(n_in_);
  const std::size_t bytes = layout_.matrix_bytes(n_out_, n_in_);
  own_ = base::Buffer<std::byte>(bytes, pages_for(bytes));
  panels_ = own_.span();
  pool.for_each(panel_count(n_out_), [&](std::size_t panel, std::size_t) {
    std::byte* to = own_.data() + panel * panel_bytes;
    BlockWeights weights{};  // columns beyond the last one stay zero
    const std::size_t block_bytes = base::column_bytes(format, kScaleBlock) * kPanelCols;
    for (std::size_t k = 0; k < n_in_; k += kScaleBlock) {
      const std::size_t n_k = std::min(kScaleBlock, n_in_ - k);
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(n_k), weights.end(),
                decltype(weights)::value_type{});
      read_block(source, panel * kPanelCols, k, weights);
      std::byte* const block = to + k / kScaleBlock * block_bytes;
      if (layout_.has_bf16_blocks) {
        write_pairs(weights, *reinterpret_cast<Bf16Block*>(block));
      } else {
        write_block(weights, n_k, format, block);
      }
    }
  });
}

PackedMatrix::PackedMatrix(std::span<const std::byte> panels, std::size_t n_out, std::size_t n_in,
                           PanelLayout layout)
    : n_out_(n_out), n_in_(n_in), layout_(layout), panels_(panels) {
  LR_DCHECK(layout == PanelLayout::in_use(layout.format));
  LR_DCHECK(panels.size() == layout.matrix_bytes(n_out, n_in));
}

}  // namespace longreach::kernels
