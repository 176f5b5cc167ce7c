#include "dist/engine/logits_return.hpp"

#include <algorithm>

namespace longreach::dist {

using partition::Range;

LogitsReturn::LogitsReturn(const GridPosition& grid_position, std::size_t vocab_size,
                           Recorder& recorder)
    : grid_position_(grid_position), vocab_size_(vocab_size), recorder_(recorder) {
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
    expected_.emplace_back(batch.begin(), batch.end());
  });
}

bool LogitsReturn::expects(std::uint32_t session) const {
  return std::ranges::any_of(expected_, [session](const Batch& batch) {
    return std::ranges::any_of(
        batch, [session](const ExpectedRow& row) { return row.session == session; });
  });
}

void LogitsReturn::drop(std::uint32_t session) {
  for (Batch& batch : expected_) {
    for (ExpectedRow& row : batch) {
      if (row.session == session) row.sink = nullptr;
    }
  }
}

void LogitsReturn::start_receiving() {
  const std::size_t n = expected_.front().size();
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
  return std::ranges::all_of(coming_, [](const auto& message) { return message->done(); });
}

LogitsReturn::Batch LogitsReturn::take_batch() {
  Batch batch = std::move(expected_.front());
  expected_.pop_front();
  return batch;
}

void LogitsReturn::hand_out() {
  coming_.clear();
  receiving_ = false;
  const Batch batch = take_batch();
  const std::size_t n = batch.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (!batch[i].sink) continue;
    for (std::size_t s = 0; s < grid_position_.grid.n_shards; ++s) {
      const Range columns = columns_of(s);
      const auto part = parts_.span().subspan(columns.begin * n + i * columns.size());
      std::copy_n(part.data(), columns.size(),
                  row_.begin() + static_cast<std::ptrdiff_t>(columns.begin));
    }
    (*batch[i].sink)(batch[i].position, row_);
  }
}

void LogitsReturn::poll() {
  if (grid_position_.is_last_stage()) return;  // handed out as soon as they are computed
  while (!expected_.empty()) {
    if (!receiving_) start_receiving();
    if (!is_complete()) return;
    hand_out();
  }
}

void LogitsReturn::wait_for_next() {
  if (!receiving_) start_receiving();
  {
    const auto span = recorder_.span(Activity::kWaitForLogits);
    for (const auto& message : coming_) message->wait();
  }
  hand_out();
}

void LogitsReturn::send(base::MatView<const float> own_columns) {
  const std::size_t n = own_columns.rows();
  if (!grid_position_.leads()) {
    finish();
    const auto leaving = leaving_.span().first(n * own_columns.cols());
    std::copy_n(own_columns.data(), leaving.size(), leaving.data());
    sent_ = grid_position_.ranks->send(std::as_bytes(leaving), 0);
    sent_bytes_ += leaving.size_bytes();
    return;
  }
  if (grid_position_.grid.n_shards == 1) {  // whole rows, nothing to put together
    const Batch batch = take_batch();
    for (std::size_t i = 0; i < n; ++i) {
      if (batch[i].sink) (*batch[i].sink)(batch[i].position, own_columns.row(i));
    }
    return;
  }
  const std::size_t first = columns_of(grid_position_.shard).begin * n;
  std::copy_n(own_columns.data(), n * own_columns.cols(), parts_.data() + first);
  wait_for_next();
}

void LogitsReturn::finish() {
  if (sent_) sent_->wait();
  sent_.reset();
  for (Batch& batch : expected_) {
    for (ExpectedRow& row : batch) row.sink = nullptr;
  }
  while (!expected_.empty()) wait_for_next();
}

}  // namespace longreach::dist
