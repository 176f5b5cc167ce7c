/// A step: rows of one or more sequences that pass through the blocks together.
///
/// What knows only rows (products, norms, activations, exchanges of columns) sees rows; what knows
/// sequences (token shift, recurrence, cache, selection) works segment by segment. A row's bits do
/// not depend on the rows beside it.
#pragma once

#include "kernels/base/view.hpp"

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longreach::model {

/// Rows of a step, unless more share the reading of chunks (prompt_step_rows() of
/// attention_span.hpp): products have no use for more.
inline constexpr std::size_t kStepRows = 512;

/// Rows of a step, at most.
inline constexpr std::size_t kMostStepRows = 2048;

/// Consecutive tokens of one session in a step.
struct Segment {
  std::uint32_t session = 0;
  std::uint32_t n_rows = 0;    ///< At least 1.
  std::uint64_t position = 0;  ///< Of the first token in its sequence.
};

/// A property of a step's rows.
using RowSet = std::bitset<kMostStepRows>;

/// Segments of different sessions, whose rows follow one another.
class Step {
 public:
  /// `wanted` are the rows whose logits are asked for, `weighed` those of which it is asked what
  /// their attention gives weight to. Requires: 1 .. kMostStepRows rows.
  explicit Step(std::vector<Segment> segments, const RowSet& wanted = {},
                const RowSet& weighed = {});

  std::span<const Segment> segments() const { return segments_; }
  std::size_t n_rows() const { return segment_of_row_.size(); }
  const RowSet& wanted() const { return wanted_; }
  const RowSet& weighed() const { return weighed_; }
  /// The first row of a segment.
  std::size_t first_row(std::size_t segment) const { return first_rows_[segment]; }
  /// The segment that a row belongs to.
  std::size_t segment_of(std::size_t row) const { return segment_of_row_[row]; }
  /// The position of a row's token in its sequence.
  std::size_t position_of(std::size_t row) const {
    const std::size_t segment = segment_of(row);
    return segments_[segment].position + row - first_rows_[segment];
  }

 private:
  std::vector<Segment> segments_;
  std::vector<std::size_t> first_rows_;
  std::vector<std::uint16_t> segment_of_row_;
  RowSet wanted_, weighed_;
};

/// What goes on of a step behind the recurrence, or into the attention, of the model's last block:
/// rows whose logits are wanted, the row before each, which the token shift needs, and each
/// segment's last one, which its next token needs.
struct LastRows {
  explicit LastRows(const Step& step);

  std::vector<std::size_t> rows;  ///< Of the step, ascending.
  Step step;                      ///< Of these rows alone.

  /// Moves these rows of all rows to the front.
  void gather(base::MatView<float> all) const;
  /// Moves them back; the others are then of no use.
  void scatter(base::MatView<float> all) const;
};

}  // namespace longreach::model
