#include "model/step.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
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
  LR_CHECK(n_rows() >= 1 && n_rows() <= kMostStepRows);
}

namespace {

std::vector<std::size_t> last_rows(const Step& step) {
  std::vector<std::size_t> rows;
  for (std::size_t s = 0; s < step.segments().size(); ++s) {
    const std::size_t first = step.first_row(s), last = first + step.segments()[s].n_rows - 1;
    for (std::size_t t = first; t <= last; ++t) {
      if (t == last || step.wanted()[t] || step.wanted()[t + 1]) rows.push_back(t);
    }
  }
  return rows;
}

Step step_of(const Step& step, std::span<const std::size_t> rows) {
  std::vector<Segment> segments(step.segments().begin(), step.segments().end());
  for (Segment& segment : segments) segment.n_rows = 0;
  for (const std::size_t row : rows) ++segments[step.segment_of(row)].n_rows;
  return Step(std::move(segments));
}

void move_row(base::MatView<float> all, std::size_t from, std::size_t to) {
  if (from != to) std::ranges::copy(all.row(from), all.row(to).begin());
}

}  // namespace

LastRows::LastRows(const Step& whole) : rows(last_rows(whole)), step(step_of(whole, rows)) {}

void LastRows::gather(base::MatView<float> all) const {
  for (std::size_t i = 0; i < rows.size(); ++i) move_row(all, rows[i], i);
}

void LastRows::scatter(base::MatView<float> all) const {
  for (std::size_t i = rows.size(); i-- > 0;) move_row(all, i, rows[i]);
}

}  // namespace longreach::model
