#include "model/step.hpp"

#include "kernels/base/error.hpp"

#include <utility>

namespace longreach::model {

Step::Step(std::vector<Segment> segments, const RowSet& wanted, const RowSet& weighed)
    : segments_(std::move(segments)), wanted_(wanted), weighed_(weighed) {
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    LR_CHECK(segments_[s].n_rows >= 1);
    first_rows_.push_back(segment_of_row_.size());
    segment_of_row_.insert(segment_of_row_.end(), segments_[s].n_rows,
                           static_cast<std::uint16_t>(s));
  }
  LR_CHECK(n_rows() >= 1 && n_rows() <= kStepRows);
}

}  // namespace longreach::model
