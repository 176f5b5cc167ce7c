/// Weights as the matrix kernels read them.
///
/// A panel is 32 output columns: for k = 0, 1, .. the 32 weights that multiply x[k], behind one
/// another, or for each 32 steps of k a block of them with fewer bits (weight_blocks.hpp). So a
/// product streams through memory once, every output owns one lane, and each sum runs along k in
/// order, whatever else is computed beside it. The last panel and the last block are filled up with
/// zeros. Where many inputs are zero, the steps of two panels alternate.
#pragma once

#include "kernels/base/types.hpp"
#include "kernels/base/view.hpp"
#include "kernels/matmul/strided_matrix.hpp"
#include "kernels/matmul/weight_blocks.hpp"
#include "kernels/threads/parallel.hpp"

#include <cstddef>
#include <functional>
#include <span>

namespace longreach::kernels {

/// ceil(n / kPanelCols).
constexpr std::size_t panel_count(std::size_t n) { return (n + kPanelCols - 1) / kPanelCols; }

/// Gives `count` outputs of a matrix from `first` on, as a matrix of that many, to a thread that is
/// done with them when it asks for the next ones. Must not throw.
using ReadOutputs =
    std::function<StridedMatrix(std::size_t first, std::size_t count, std::size_t worker)>;

/// What is known of the inputs that a matrix will be multiplied by.
enum class Inputs {
  kAny,
  kManyZero,  ///< Weights of zeros need not be read (matrix.hpp, multiply_nonzero).
};

/// Panels somewhere in memory: column c of panel p at step k lies at data[p * panel_stride + k *
/// k_stride + c].
template <typename T>
struct Panels {
  const T* data;
  std::size_t panel_stride, k_stride;
};

/// Panels whose steps alternate where weights of zeros are skipped: what is skipped or read then is
/// twice as long, two lines of memory in bf16.
inline constexpr std::size_t kPairedPanels = 2;

/// How panels keep weights.
struct PanelLayout {
  base::WeightFormat format = base::WeightFormat::kF32;
  bool has_bf16_blocks = false;  ///< Panels of bf16 are blocks for pairs of inputs, not steps.

  /// That of panels made now: those of bf16 depend on the instruction-set path in use (isa.hpp)
  /// and on the activations, others are the same on every path. Errors: as active_isa().
  static PanelLayout in_use(base::ProductFormat product);
  /// Whether the path in use multiplies such panels, which may have been made elsewhere, with the
  /// bits of those made now. Errors: as active_isa().
  bool serves(base::ProductFormat product) const;

  /// Of a panel of so many inputs; a multiple of 64.
  std::size_t panel_bytes(std::size_t n_in) const {
    const std::size_t n_blocks = (n_in + kScaleBlock - 1) / kScaleBlock;
    return base::column_bytes(format, has_bf16_blocks ? n_blocks * kScaleBlock : n_in) * kPanelCols;
  }
  /// Of all panels of a matrix.
  std::size_t matrix_bytes(std::size_t n_out, std::size_t n_in) const {
    return panel_count(n_out) * panel_bytes(n_in);
  }
  bool operator==(const PanelLayout&) const = default;
};

/// A matrix packed into panels, in the layout that was in use then. Move-only.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// Copies, converting to `format`: to bf16 with rounding to nearest even, exact for bf16 sources;
  /// to int8 and int4 as quantize() says. `inputs` changes where steps lie, but no bit of a
  /// product. Errors: std::bad_alloc; as active_isa().
  PackedMatrix(const StridedMatrix& source, base::ProductFormat product, ThreadPool& pool,
               Inputs inputs = Inputs::kAny);
  /// The same for a matrix (n_out, n_in) of which each thread asks for one panel's outputs after
  /// the other, each once.
  PackedMatrix(std::size_t n_out, std::size_t n_in, const ReadOutputs& read_outputs,
               base::ProductFormat product, ThreadPool& pool, Inputs inputs = Inputs::kAny);
  /// One whose panels, which do not alternate, lie elsewhere, aligned to 64 bytes, for as long as
  /// this lives. Requires: the layout serves a product with such activations; `panels` has all of
  /// them.
  PackedMatrix(std::span<const std::byte> panels, std::size_t n_out, std::size_t n_in,
               PanelLayout layout, base::Activations activations = base::Activations::kF32);

  std::size_t n_out() const { return n_out_; }
  std::size_t n_in() const { return n_in_; }
  base::WeightFormat format() const { return layout_.format; }
  base::Activations activations() const { return activations_; }
  bool has_bf16_blocks() const { return layout_.has_bf16_blocks; }
  /// Whether zeros among the inputs may be skipped: weights are steps that alternate, all of them
  /// finite, as zero times infinity is not zero.
  bool may_skip_zeros() const { return may_skip_zeros_; }
  /// All panels, one after the other.
  std::span<const std::byte> panels() const { return panels_; }
  /// Panels of steps from one on that is the first of a pair: T is float or Bf16, as format()
  /// says. Of alternating panels, those of one pair.
  template <typename T>
  Panels<T> steps(std::size_t first_panel) const {
    const bool alternate = alternate_ && first_panel + 1 < panel_count(n_out_);
    return {panel<T>(first_panel), alternate ? kPanelCols : n_in_ * kPanelCols,
            alternate ? kPairedPanels * kPanelCols : kPanelCols};
  }
  /// A panel of blocks: ceil(n_in / 32) Bf16Block, Int8Block or Int4Block; T must be what format()
  /// and has_bf16_blocks() say.
  template <typename T>
  const T* panel(std::size_t index) const {
    return reinterpret_cast<const T*>(panels_.data() + index * layout_.panel_bytes(n_in_));
  }

 private:
  std::size_t n_out_ = 0, n_in_ = 0;
  PanelLayout layout_;
  base::Activations activations_ = base::Activations::kF32;
  bool alternate_ = false;  ///< Steps of two panels.
  bool may_skip_zeros_ = false;
  std::span<const std::byte> panels_;
  base::Buffer<std::byte> own_;  ///< What they lie in, if it is the matrix's own.
};

}  // namespace longreach::kernels
