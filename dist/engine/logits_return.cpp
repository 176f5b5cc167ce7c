#include "dist/engine/logits_return.hpp"

#include <algorithm>

namespace longreach::dist {

using partition::Range;

LogitsReturn::LogitsReturn(const GridPosition& grid_position, std::size_t vocab_size,
                           std::size_t n_softmaxes, Recorder& recorder)
    : grid_position_(grid_position),
      vocab_size_(vocab_size),
      n_softmaxes_(n_softmaxes),
      recorder_(recorder),
      evidence_(*grid_position.ranks) {
  if (grid_position.leads()) {
    row_.resize(vocab_size);
    if (grid_position.grid.n_ranks() > 1)
      parts_ = base::Buffer<float>(model::kLogitRows * vocab_size);
  } else if (grid_position.is_last_stage()) {
    leaving_ = base::Buffer<float>(model::kLogitRows * columns_of(grid_position.shard).size());
  }
}

Range LogitsReturn::columns_of(std::size_t shard) const {
  return partition::columns_of(vocab_size_, {shard, grid_position_.grid.n_shards});
}

void LogitsReturn::expect(std::span<const ExpectedRow> rows) {
  for_logit_batches(rows.size(), [&](std::size_t first, std::size_t n) {
    const auto batch = rows.subspan(first, n);
    expected_.push_back(
        {{batch.begin(), batch.end()}, std::ranges::any_of(batch, [](const ExpectedRow& row) {
           return row.evidence != nullptr;
         })});
  });
}

bool LogitsReturn::expects(std::uint32_t session) const {
  return std::ranges::any_of(expected_, [session](const Batch& batch) {
    return std::ranges::any_of(
        batch.rows, [session](const ExpectedRow& row) { return row.session == session; });
  });
}

void LogitsReturn::drop(std::uint32_t session) {
  for (Batch& batch : expected_) {
    for (ExpectedRow& row : batch.rows) {
      if (row.session == session) row.sink = nullptr;
    }
  }
}

void LogitsReturn::start_receiving() {
  const std::size_t n = expected_.front().rows.size();
  for (std::size_t s = 0; s < grid_position_.grid.n_shards; ++s) {
    const std::size_t from = grid_position_.last_stage_rank(s);
    if (from == grid_position_.ranks->rank()) continue;
    const Range columns = columns_of(s);
    coming_.push_back(grid_position_.ranks->receive(
        std::as_writable_bytes(parts_.span().subspan(columns.begin * n, columns.size() * n)),
        from));
  }
  receiving_ = true;
}

bool LogitsReturn::is_complete() {
  const bool has_evidence = !expected_.front().has_evidence || evidence_.is_complete();
  return has_evidence &&
         std::ranges::all_of(coming_, [](const auto& message) { return message->done(); });
}

std::vector<AttendedSpan> LogitsReturn::spans_of(std::span<const RowEvidence> evidence,
                                                 std::size_t step_row) const {
  std::vector<AttendedSpan> spans;
  auto of_row = std::ranges::lower_bound(evidence, step_row, {}, &RowEvidence::row);
  for (; of_row != evidence.end() && of_row->row == step_row; ++of_row) {
    const double shares = static_cast<double>(of_row->weight) * kEvidenceUnit;
    spans.push_back({of_row->first, of_row->n_tokens, shares / static_cast<double>(n_softmaxes_)});
  }
  return spans;
}

template <typename LogitsOf>
void LogitsReturn::hand_out(LogitsOf&& logits_of) {
  const Batch batch = std::move(expected_.front());
  expected_.pop_front();
  std::vector<RowEvidence> evidence;
  if (batch.has_evidence) evidence = evidence_.take();
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const ExpectedRow& row = batch.rows[i];
    if (!row.sink) continue;
    if (row.evidence) (*row.evidence)(row.position, spans_of(evidence, row.step_row));
    (*row.sink)(row.position, logits_of(i));
  }
}

void LogitsReturn::hand_out_parts() {
  coming_.clear();
  receiving_ = false;
  const std::size_t n = expected_.front().rows.size();
  hand_out([this, n](std::size_t i) -> std::span<const float> {
    for (std::size_t s = 0; s < grid_position_.grid.n_shards; ++s) {
      const Range columns = columns_of(s);
      const auto part = parts_.span().subspan(columns.begin * n + i * columns.size());
      std::copy_n(part.data(), columns.size(),
                  row_.begin() + static_cast<std::ptrdiff_t>(columns.begin));
    }
    return row_;
  });
}

void LogitsReturn::poll() {
  if (grid_position_.is_last_stage()) return;  // handed out as soon as they are computed
  while (!expected_.empty()) {
    if (!receiving_) start_receiving();
    if (!is_complete()) return;
    hand_out_parts();
  }
}

void LogitsReturn::wait_for_next() {
  if (!receiving_) start_receiving();
  {
    const auto span = recorder_.span(Activity::kWaitForLogits);
    for (const auto& message : coming_) message->wait();
    if (expected_.front().has_evidence) evidence_.wait();
  }
  hand_out_parts();
}

void LogitsReturn::send(base::MatView<const float> own_columns) {
  const std::size_t n = own_columns.rows();
  if (!grid_position_.leads()) {
    wait_until_sent();
    const auto leaving = leaving_.span().first(n * own_columns.cols());
    std::copy_n(own_columns.data(), leaving.size(), leaving.data());
    sent_ = grid_position_.ranks->send(std::as_bytes(leaving), 0);
    sent_bytes_ += leaving.size_bytes();
    return;
  }
  if (grid_position_.grid.n_shards == 1) {  // whole rows, nothing to put together
    hand_out([&own_columns](std::size_t i) { return own_columns.row(i); });
    return;
  }
  const std::size_t first = columns_of(grid_position_.shard).begin * n;
  std::copy_n(own_columns.data(), n * own_columns.cols(), parts_.data() + first);
  wait_for_next();
}

void LogitsReturn::wait_until_sent() {
  if (sent_) sent_->wait();
  sent_.reset();
}

void LogitsReturn::finish() {
  for (Batch& batch : expected_) {
    for (ExpectedRow& row : batch.rows) row.sink = nullptr;
  }
  while (!expected_.empty()) wait_for_next();
  wait_until_sent();
  evidence_.finish();
}

}  // namespace longreach::dist
