/// A tensor of a checkpoint: where its numbers lie in a mapped file, or how they are made. Produced
/// by the checkpoint readers and by presets, consumed where weights are loaded; it owns nothing.
#pragma once

#include "kernels/base/types.hpp"
#include "kernels/matmul/packed_matrix.hpp"
#include "model/checkpoint/number_blocks.hpp"
#include "model/checkpoint/random_numbers.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// A matrix that lies in panels, as kernels::PackedMatrix has them.
struct PackedPanels {
  kernels::PanelLayout layout;
  std::size_t n_bytes = 0;  ///< Of its panels; whoever uses them compares it with the shape.
};

/// A product of two factors, which is added to a matrix.
struct LowRankProduct {
  std::size_t rank = 0;
  std::vector<float> first;   ///< (rank, n_in): A.
  std::vector<float> second;  ///< (n_out, rank): B.
  float scale = 1;            ///< Of B A.

  std::size_t n_in() const { return first.size() / rank; }
  std::size_t n_out() const { return second.size() / rank; }
};

/// A strided view of numbers in a file. Element (i, j, ..) lies at
/// data + (i * strides[0] + j * strides[1] + ..) * size_of(dtype). The reader that made it has
/// checked that every element lies inside the file. A tensor in blocks is f32 to its readers, and
/// the sum counts elements from the first block on. A made tensor lies nowhere: it is contiguous
/// bf16. Elements of both are read with at() or model/checkpoint/matrix_rows. Those of a packed one
/// are not read: it has a shape, and panels as its data. Of a matrix that a product is added to,
/// matrix_rows gives the sums.
struct Tensor {
  base::DType dtype = base::DType::kF32;
  std::vector<std::size_t> shape;
  std::vector<std::size_t> strides;         ///< In elements, one per dimension.
  const std::byte* data = nullptr;          ///< Of the first element; not necessarily aligned.
  std::optional<RandomNumbers> made = {};   ///< In place of data; indices are row-major.
  std::optional<BlockFormat> blocks = {};   ///< What data are, in place of numbers of dtype.
  std::optional<PackedPanels> packed = {};  ///< The same.
  const LowRankProduct* added = nullptr;    ///< To the numbers; the checkpoint owns it.

  /// The product of the shape.
  std::size_t size() const;
  /// Whether the elements lie behind one another in row-major order.
  bool is_contiguous() const;
  /// The element at a row-major index, as f32 (exact), but for what is added; for small tensors and
  /// tests.
  float at(std::size_t index) const;
  /// Bytes of its elements in the file, or of as many as are made.
  std::size_t stored_bytes() const;
  /// How the file stores its elements: "bf16", "q8_0".
  std::string_view type_name() const;
};

/// The strides of a contiguous tensor of that shape, in row-major order.
std::vector<std::size_t> contiguous_strides(const std::vector<std::size_t>& shape);

/// "[2560, 64]", for messages.
std::string shape_text(const std::vector<std::size_t>& shape);

}  // namespace longreach::model
