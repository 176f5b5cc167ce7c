#include "kernels/packed_matrix.hpp"

#include <cstring>

namespace longreach::kernels {
namespace {

/// Large pages pay from here on (two of them fit for certain).
constexpr std::size_t kLargeBytes = std::size_t{4} << 20;

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

void write(float value, float* to) { *to = value; }
void write(float value, base::Bf16* to) { *to = base::to_bf16(value); }

template <float (*kRead)(const std::byte*), typename T>
void pack_panel(const StridedMatrix& source, std::size_t panel, T* to) {
  const std::size_t first = panel * kPanelCols;
  const std::size_t n_cols = std::min(kPanelCols, source.n_out - first);
  const std::size_t width = size_of(source.dtype);
  for (std::size_t col = 0; col < n_cols; ++col) {
    const std::byte* from = source.data + (first + col) * source.out_stride * width;
    for (std::size_t k = 0; k < source.n_in; ++k) {
      write(kRead(from + k * source.in_stride * width), to + k * kPanelCols + col);
    }
  }
}

template <typename T>
void pack_panel(const StridedMatrix& source, std::size_t panel, T* to) {
  switch (source.dtype) {
    case base::DType::kF32:
      return pack_panel<read_f32>(source, panel, to);
    case base::DType::kBf16:
      return pack_panel<read_bf16>(source, panel, to);
    case base::DType::kF16:
      return pack_panel<read_f16>(source, panel, to);
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

PackedMatrix::PackedMatrix(const StridedMatrix& source, base::DType dtype, ThreadPool& pool)
    : n_out_(source.n_out), n_in_(source.n_in), dtype_(dtype) {
  LR_CHECK(dtype == base::DType::kF32 || dtype == base::DType::kBf16);
  const std::size_t panel_size = n_in_ * kPanelCols;
  const std::size_t bytes = panel_count(n_out_) * panel_size * size_of(dtype);
  data_ = base::Buffer<std::byte>(bytes, pages_for(bytes));
  pool.for_each(panel_count(n_out_), [&](std::size_t panel, std::size_t) {
    if (dtype == base::DType::kF32) {
      pack_panel(source, panel, reinterpret_cast<float*>(data_.data()) + panel * panel_size);
    } else {
      pack_panel(source, panel, reinterpret_cast<base::Bf16*>(data_.data()) + panel * panel_size);
    }
  });
}

}  // namespace longreach::kernels
