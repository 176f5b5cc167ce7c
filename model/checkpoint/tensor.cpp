#include "model/checkpoint/tensor.hpp"

#include "kernels/base/error.hpp"

#include <fmt/ranges.h>

#include <cstdint>
#include <cstring>

namespace longreach::model {
namespace {

template <typename Number>
Number load(const std::byte* from) {
  Number value;
  std::memcpy(&value, from, sizeof value);  // the file may align it in any way
  return value;
}

}  // namespace

std::size_t Tensor::size() const {
  std::size_t product = 1;
  for (const std::size_t extent : shape) product *= extent;
  return product;
}

bool Tensor::is_contiguous() const {
  const std::vector<std::size_t> expected = contiguous_strides(shape);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1 && strides[i] != expected[i]) return false;
  }
  return true;
}

float Tensor::at(std::size_t index) const {
  LR_DCHECK(index < size() && !packed);
  if (made) return to_float(base::to_bf16(made->at(index)));
  std::size_t element = 0;
  for (std::size_t i = shape.size(); i-- > 0;) {
    element += index % shape[i] * strides[i];
    index /= shape[i];
  }
  if (blocks) {
    float number = 0;
    read_numbers(*blocks, data, element, {&number, 1});
    return number;
  }
  const std::byte* const from = data + element * base::size_of(dtype);
  switch (dtype) {
    case base::DType::kF32:
      return load<float>(from);
    case base::DType::kBf16:
      return base::to_float(base::Bf16{load<std::uint16_t>(from)});
    case base::DType::kF16:
      return base::half_to_float(load<std::uint16_t>(from));
  }
  return 0;
}

std::size_t Tensor::stored_bytes() const {
  if (packed) return packed->n_bytes;
  if (blocks) return size() / numbers_in_block(*blocks) * bytes_of_block(*blocks);
  return size() * base::size_of(dtype);
}

std::string_view Tensor::type_name() const {
  if (packed) return base::name_of(packed->layout.format);
  return blocks ? name_of(*blocks) : base::name_of(dtype);
}

std::vector<std::size_t> contiguous_strides(const std::vector<std::size_t>& shape) {
  std::vector<std::size_t> strides(shape.size());
  std::size_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

std::string shape_text(const std::vector<std::size_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace longreach::model
